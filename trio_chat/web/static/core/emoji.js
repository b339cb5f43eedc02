// The emoji that the page offers, each with the words by which it is found. Others can be typed or pasted.

export const EMOJI = [
  ["👍", "thumbsup yes ok good 赞"], ["👎", "thumbsdown no bad 踩"], ["❤️", "heart love 爱心"], ["😂", "joy laugh tears 笑哭"],
  ["🎉", "tada party hooray 庆祝"], ["😮", "wow open surprised 惊讶"], ["😢", "cry sad tear 哭"], ["🙏", "thanks pray please 谢谢"],
  ["👀", "eyes look see 看"], ["✅", "check done yes 完成"], ["❌", "cross no wrong 错"], ["🚀", "rocket ship launch 火箭"],
  ["🔥", "fire hot 火"], ["💯", "hundred full 满分"], ["👏", "clap bravo applause 鼓掌"], ["🤔", "thinking hmm 思考"],
  ["😀", "grin happy 开心"], ["😄", "smile happy 微笑"], ["😅", "sweat phew 汗"], ["😉", "wink 眨眼"],
  ["😊", "blush glad 害羞"], ["😍", "love eyes 喜欢"], ["😘", "kiss 亲"], ["😎", "cool sunglasses 酷"],
  ["🙂", "slight smile 笑"], ["🙃", "upside down 倒"], ["😐", "neutral 无语"], ["😴", "sleep tired 睡"],
  ["😭", "sob cry loudly 大哭"], ["😡", "angry rage 生气"], ["🤯", "mindblown 震惊"], ["🥳", "partying 派对"],
  ["🤝", "handshake deal 握手"], ["👋", "wave hello bye 你好 再见"], ["✌️", "victory peace 胜利"], ["💪", "muscle strong 加油"],
  ["👌", "perfect okay 好"], ["🤷", "shrug 不知道"], ["🤦", "facepalm 捂脸"], ["🙌", "raised hands 万岁"],
  ["💡", "idea bulb 主意"], ["⚠️", "warning careful 警告"], ["❓", "question 问题"], ["❗", "exclamation important 重要"],
  ["📌", "pin 钉"], ["📎", "clip attachment 附件"], ["📅", "calendar date 日历"], ["⏰", "alarm time 时间"],
  ["🐛", "bug 虫子"], ["🔧", "wrench fix 修"], ["📦", "package box 包"], ["🧪", "test tube 测试"],
  ["☕", "coffee break 咖啡"], ["🍵", "tea 茶"], ["🍕", "pizza lunch 披萨"], ["🍰", "cake 蛋糕"],
  ["🌞", "sun morning 太阳"], ["🌙", "moon night 月亮 晚安"], ["⭐", "star 星"], ["🌈", "rainbow 彩虹"],
  ["🐱", "cat 猫"], ["🐶", "dog 狗"], ["🐼", "panda 熊猫"], ["🌸", "flower blossom 花"],
];

export const QUICK = EMOJI.slice(0, 6).map(([emoji]) => emoji); // offered beside a message at once
