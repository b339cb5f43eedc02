"""RFC 6455 and RFC 7692 case by case; see docs/conformance.md."""
