// Every text of the page, in every language it speaks.
//
// Owns wording, plurals, and how times are written; all languages have the same keys (a test says so). A text
// is a string or a function of its parts. Refuses to know who shows it.

const english = {
  language: "English",
  title: "Trio Chat",
  tagline: "A room, a name, and you are in.",
  yourName: "Your name",
  namePlaceholder: "How others see you",
  roomLabel: "Room",
  enter: "Enter the room",
  badName: "1 to 32 characters, no control or invisible ones.",
  badRoom: "1 to 64 letters, digits, “-”, “_” or “.”, no spaces, not dots alone.",
  nameTaken: (asked, given) => `“${asked}” is taken here; you are “${given}”.`,
  signedInAs: (name) => `You are signed in as “${name}”.`,
  skip: "Skip to the message box",
  connecting: "Connecting…",
  online: "Connected",
  offline: "Offline",
  stoppedTitle: "Disconnected",
  retryIn: (seconds) => `Connection lost. Next try in ${seconds} s.`,
  lost: "Connection lost. Reconnecting.",
  firstRetryIn: (seconds) => `Can’t connect yet. Trying again in ${seconds} s.`,
  notYet: "Can’t connect yet. Trying again.",
  seemsRefused: "The server is down, too busy, or does not let this page in; a browser is not told which. If it goes on, ask whoever runs the server.",
  offlineWhy: "You are offline. What you write is kept and sent later.",
  closedWhy: (reason) => reason || "The server has closed the connection.",
  tryNow: "Try now",
  reconnect: "Connect again",
  catchingUp: "Catching up…",
  messages: (room) => `Messages in ${room}`,
  beginning: (room) => `This is the beginning of #${room}`,
  empty: "Nobody has said anything yet. You could be the first.",
  loadingOlder: "Loading earlier messages…",
  today: "Today",
  yesterday: "Yesterday",
  newLine: "New",
  gap: (count) => (count === 1 ? "1 earlier message is no longer kept" : `${count} earlier messages are no longer kept`),
  reloaded: "The server could not continue from where you were; the history was loaded again.",
  newMessages: (count) => (count === 1 ? "1 new message" : `${count} new messages`),
  toLatest: "To the latest messages",
  announce: (name, text) => `${name}: ${text}`,
  write: (room) => `Message #${room}`,
  writeHint: "Enter sends, Shift+Enter begins a new line",
  send: "Send",
  tooLong: "Too long to send",
  queueFull: "Too many unsent messages. Wait for the connection.",
  charactersLeft: (count) => (count === 1 ? "1 character left" : `${count} characters left`),
  you: "you",
  sending: "Sending…",
  stored: "Sent",
  waiting: "Waiting to be sent",
  failed: "Not sent",
  retry: "Try again",
  remove: "Delete",
  typing: (names) => {
    if (names.length === 1) return [{ name: names[0] }, " is typing…"];
    if (names.length === 2) return [{ name: names[0] }, " and ", { name: names[1] }, " are typing…"];
    return ["Several people are typing…"];
  },
  people: "People",
  peopleHere: (count) => (count === 1 ? "1 person here" : `${count} people here`),
  showPeople: (count) => `People and settings, ${count} here`,
  close: "Close",
  andMore: (count) => `and ${count} more`,
  youAre: "You are",
  changeName: "Change name",
  signedIn: "signed in",
  invite: "Invite",
  share: "Invite or change room",
  shareTitle: (room) => `#${room}`,
  shareText: "Anyone with this link can join:",
  shareHere: "This link works on this computer only:",
  shareWider: (host) => [
    "To let others in, start the server with ", { code: "--host 0.0.0.0" }, " and give them the link with this computer’s "
    + "address in your network, such as 192.168.1.20, in place of ", { code: host }, ".",
  ],
  copy: "Copy",
  copied: "Copied",
  otherRoom: "Go to another room",
  go: "Go",
  theme: "Appearance",
  themeAuto: "Auto",
  themeLight: "Light",
  themeDark: "Dark",
  languageLabel: "Language",
  errors: {
    rate_limited: "Too fast; wait a moment.",
    unavailable: "The server cannot store messages at the moment.",
    too_big: "The message is too long for this server.",
  },
};

const chinese = {
  language: "中文",
  title: "Trio Chat",
  tagline: "选个房间，起个名字，开始聊天。",
  yourName: "你的名字",
  namePlaceholder: "其他人看到的名字",
  roomLabel: "房间",
  enter: "进入房间",
  badName: "1 至 32 个字符，不能含控制字符或不可见字符。",
  badRoom: "1 至 64 个字母、汉字、数字或 “-”“_”“.”，不能有空格，不能只有点。",
  nameTaken: (asked, given) => `“${asked}”已被使用，你现在是“${given}”。`,
  signedInAs: (name) => `你已登录为“${name}”。`,
  skip: "跳到输入框",
  connecting: "正在连接…",
  online: "已连接",
  offline: "离线",
  stoppedTitle: "已断开",
  retryIn: (seconds) => `连接已断开，${seconds} 秒后重试。`,
  lost: "连接已断开，正在重新连接。",
  firstRetryIn: (seconds) => `还无法连接，${seconds} 秒后重试。`,
  notYet: "还无法连接，正在重试。",
  seemsRefused: "服务器可能没有运行、太忙，或者不允许这个页面连接；浏览器无法得知是哪一种。如果一直这样，请询问服务器的管理者。",
  offlineWhy: "你已离线。写下的消息会保留，稍后发送。",
  closedWhy: (reason) => reason || "服务器关闭了连接。",
  tryNow: "立即重试",
  reconnect: "重新连接",
  catchingUp: "正在补收消息…",
  messages: (room) => `${room} 的消息`,
  beginning: (room) => `这里是 #${room} 的开头`,
  empty: "还没有人说话，来说第一句吧。",
  loadingOlder: "正在加载更早的消息…",
  today: "今天",
  yesterday: "昨天",
  newLine: "新消息",
  gap: (count) => `较早的 ${count} 条消息已不再保留`,
  reloaded: "服务器无法从你离开的位置继续，已重新加载历史消息。",
  newMessages: (count) => `${count} 条新消息`,
  toLatest: "回到最新消息",
  announce: (name, text) => `${name}：${text}`,
  write: (room) => `发消息到 #${room}`,
  writeHint: "Enter 发送，Shift+Enter 换行",
  send: "发送",
  tooLong: "消息太长，无法发送",
  queueFull: "未发送的消息太多，请等待连接恢复。",
  charactersLeft: (count) => `还可输入 ${count} 个字符`,
  you: "你",
  sending: "正在发送…",
  stored: "已发送",
  waiting: "等待发送",
  failed: "未发送",
  retry: "重试",
  remove: "删除",
  typing: (names) => {
    if (names.length === 1) return [{ name: names[0] }, " 正在输入…"];
    if (names.length === 2) return [{ name: names[0] }, " 和 ", { name: names[1] }, " 正在输入…"];
    return ["多人正在输入…"];
  },
  people: "成员",
  peopleHere: (count) => `${count} 人在线`,
  showPeople: (count) => `成员与设置，${count} 人在线`,
  close: "关闭",
  andMore: (count) => `还有 ${count} 人`,
  youAre: "你是",
  changeName: "改名",
  signedIn: "已登录",
  invite: "邀请",
  share: "邀请他人或切换房间",
  shareTitle: (room) => `#${room}`,
  shareText: "拿到这个链接的人都可以加入：",
  shareHere: "这个链接只能在这台电脑上使用：",
  shareWider: (host) => [
    "要让其他人加入，请用 ", { code: "--host 0.0.0.0" }, " 启动服务器，再把链接中的 ", { code: host },
    " 换成这台电脑在网络中的地址（例如 192.168.1.20），然后发给他们。",
  ],
  copy: "复制",
  copied: "已复制",
  otherRoom: "去另一个房间",
  go: "前往",
  theme: "外观",
  themeAuto: "自动",
  themeLight: "浅色",
  themeDark: "深色",
  languageLabel: "语言",
  errors: {
    rate_limited: "发送太快了，请稍等。",
    unavailable: "服务器暂时无法保存消息。",
    too_big: "消息超过了服务器允许的长度。",
  },
};

export const LANGUAGES = { en: english, zh: chinese };

/** The language to begin with, from the browser's list of preferences. */
export function preferredLanguage(languages) {
  for (const tag of languages) {
    const language = tag.toLowerCase().split("-")[0];
    if (Object.hasOwn(LANGUAGES, language)) return language;
  }
  return "en";
}

const TAGS = { en: undefined, zh: "zh-CN" }; // English: whatever English (or clock) the browser is set to

/** Writers of dates and times in `language`. */
export function formats(language, browserLanguage = undefined) {
  const isEnglish = /^en\b/i.test(browserLanguage ?? "");
  const tag = TAGS[language] ?? (isEnglish ? browserLanguage : "en-GB");
  const time = new Intl.DateTimeFormat(tag, { hour: "numeric", minute: "2-digit" });
  const full = new Intl.DateTimeFormat(tag, { dateStyle: "full", timeStyle: "medium" });
  const weekday = new Intl.DateTimeFormat(tag, { weekday: "long", month: "long", day: "numeric" });
  const date = new Intl.DateTimeFormat(tag, { dateStyle: "long" });
  const at = (seconds) => new Date(seconds * 1000);
  return {
    tag,
    time: (seconds) => time.format(at(seconds)),
    full: (seconds) => full.format(at(seconds)),
    day: (seconds) => (Math.abs(Date.now() / 1000 - seconds) < 180 * 86_400 ? weekday : date).format(at(seconds)),
  };
}
