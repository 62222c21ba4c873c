// Every text of the page in its languages, and the language that was chosen last.

const TEXTS = {
  en: {
    connecting: 'Connecting', live: 'Live', offline: 'No connection', locked: 'Key needed',
    key: 'API key', keyboard: 'Keyboard', language: 'Language', cancel: 'Cancel', save: 'Use key', close: 'Close',
    keyWrong: 'The service does not know this key.',
    keyHint: 'This service asks for a key. It is kept until this tab is closed.',
    picture: 'Picture', result: 'Result', dropHere: 'Drop a picture here', dropHint: 'or paste one, or wait for the line', missing: 'The picture of this result is no longer here.',
    open: 'Open pictures', camera: 'Camera', shoot: 'Take picture', stopCamera: 'Close camera',
    noCamera: 'The camera cannot be used: {reason}', insecure: 'browsers allow it on https or localhost only',
    heat: 'Heatmap', model: 'Model', follow: 'Follow the line',
    ready: 'Ready', good: 'Good', bad: 'Defect', noVerdict: 'No verdict', checking: 'Checking',
    waiting: 'Waiting for the next part', reason: 'Score {joint}, threshold {threshold}',
    local: 'Small defect', semantic: 'Wrong part', joint: 'Overall', threshold: 'Threshold {value}', absent: 'not in this model',
    part: 'Part', line: 'Line', station: 'Station', time: 'Time', size: 'Size', took: 'Took', pixels: '{width} × {height} px',
    milliseconds: '{value} ms', here: 'this page',
    isIt: 'And what is it really?', labelGood: 'Good part', labelBad: 'Bad part', thanks: 'Kept for the next training.',
    lastResults: 'Last results', counts: '{bad} of {all} with a defect', verdict: 'Verdict', all: 'All',
    pause: 'Pause', resume: 'Resume', resumeNew: 'Resume ({count} new)', wallEmpty: 'Results appear here as the line runs.',
    whatIf: 'Threshold to try', whatIfNow: 'Threshold {value}', whatIfSame: 'Drag the line to try another threshold',
    whatIfNone: '{value}: none of the last {all} would change', whatIfFlips: '{value}: {count} of the last {all} would change',
    whatIfKinds: '{good} to good, {bad} to defect', reset: 'Back', strip: 'Overall score of the last {all} results',
    view: 'Picture of the result, with its heatmap', unreachable: 'The service cannot be reached',
    keyOpen: 'Open pictures', keyCamera: 'Camera on or off', keyShoot: 'Take picture', keyNewer: 'Newer result', keyOlder: 'Older result',
    keyPause: 'Pause or resume', keyFollow: 'Follow the line', keyHeat: 'Heatmap on or off', keyGood: 'Label good', keyBad: 'Label bad',
  },
  de: {
    connecting: 'Verbinde', live: 'Live', offline: 'Keine Verbindung', locked: 'Schlüssel nötig',
    key: 'API-Schlüssel', keyboard: 'Tastatur', language: 'Sprache', cancel: 'Abbrechen', save: 'Verwenden', close: 'Schließen',
    keyWrong: 'Der Dienst kennt diesen Schlüssel nicht.',
    keyHint: 'Dieser Dienst verlangt einen Schlüssel. Er bleibt gespeichert, bis dieser Tab geschlossen wird.',
    picture: 'Bild', result: 'Ergebnis', dropHere: 'Bild hier ablegen', dropHint: 'oder einfügen, oder auf die Linie warten', missing: 'Das Bild zu diesem Ergebnis ist nicht mehr da.',
    open: 'Bilder öffnen', camera: 'Kamera', shoot: 'Aufnehmen', stopCamera: 'Kamera schließen',
    noCamera: 'Die Kamera ist nicht nutzbar: {reason}', insecure: 'Browser erlauben sie nur über https oder localhost',
    heat: 'Wärmebild', model: 'Modell', follow: 'Linie folgen',
    ready: 'Bereit', good: 'Gut', bad: 'Fehler', noVerdict: 'Kein Urteil', checking: 'Prüfe',
    waiting: 'Warte auf das nächste Teil', reason: 'Wert {joint}, Schwelle {threshold}',
    local: 'Kleiner Fehler', semantic: 'Falsches Teil', joint: 'Gesamt', threshold: 'Schwelle {value}', absent: 'nicht in diesem Modell',
    part: 'Teil', line: 'Linie', station: 'Station', time: 'Zeit', size: 'Größe', took: 'Dauer', pixels: '{width} × {height} px',
    milliseconds: '{value} ms', here: 'diese Seite',
    isIt: 'Und was ist es wirklich?', labelGood: 'Gutteil', labelBad: 'Schlechtteil', thanks: 'Für das nächste Training aufgehoben.',
    lastResults: 'Letzte Ergebnisse', counts: '{bad} von {all} mit Fehler', verdict: 'Urteil', all: 'Alle',
    pause: 'Anhalten', resume: 'Weiter', resumeNew: 'Weiter ({count} neue)', wallEmpty: 'Hier erscheinen Ergebnisse, sobald die Linie läuft.',
    whatIf: 'Schwelle zum Ausprobieren', whatIfNow: 'Schwelle {value}', whatIfSame: 'Linie ziehen, um eine andere Schwelle auszuprobieren',
    whatIfNone: '{value}: keines der letzten {all} würde kippen', whatIfFlips: '{value}: {count} der letzten {all} würden kippen',
    whatIfKinds: '{good} zu gut, {bad} zu Fehler', reset: 'Zurück', strip: 'Gesamtwert der letzten {all} Ergebnisse',
    view: 'Bild des Ergebnisses mit Wärmebild', unreachable: 'Der Dienst ist nicht erreichbar',
    keyOpen: 'Bilder öffnen', keyCamera: 'Kamera an oder aus', keyShoot: 'Aufnehmen', keyNewer: 'Neueres Ergebnis', keyOlder: 'Älteres Ergebnis',
    keyPause: 'Anhalten oder weiter', keyFollow: 'Linie folgen', keyHeat: 'Wärmebild an oder aus', keyGood: 'Als gut melden', keyBad: 'Als schlecht melden',
  },
  zh: {
    connecting: '正在连接', live: '实时', offline: '连接中断', locked: '需要密钥',
    key: 'API 密钥', keyboard: '快捷键', language: '语言', cancel: '取消', save: '使用密钥', close: '关闭',
    keyWrong: '服务不认识此密钥。',
    keyHint: '此服务需要密钥。密钥保存到关闭本标签页为止。',
    picture: '图片', result: '结果', dropHere: '将图片拖到这里', dropHint: '或粘贴图片，或等待产线', missing: '此结果的图片已不存在。',
    open: '打开图片', camera: '摄像头', shoot: '拍照', stopCamera: '关闭摄像头',
    noCamera: '无法使用摄像头：{reason}', insecure: '浏览器仅在 https 或 localhost 下允许使用',
    heat: '热力图', model: '模型', follow: '跟随产线',
    ready: '就绪', good: '合格', bad: '缺陷', noVerdict: '无法判定', checking: '检测中',
    waiting: '等待下一个零件', reason: '得分 {joint}，阈值 {threshold}',
    local: '局部缺陷', semantic: '错误零件', joint: '综合', threshold: '阈值 {value}', absent: '此模型不含',
    part: '零件', line: '产线', station: '工位', time: '时间', size: '尺寸', took: '耗时', pixels: '{width} × {height} 像素',
    milliseconds: '{value} 毫秒', here: '本页面',
    isIt: '实际情况是？', labelGood: '良品', labelBad: '不良品', thanks: '已保存，用于下次训练。',
    lastResults: '最近结果', counts: '{all} 件中 {bad} 件有缺陷', verdict: '判定', all: '全部',
    pause: '暂停', resume: '继续', resumeNew: '继续（{count} 条新结果）', wallEmpty: '产线运行时，结果显示在这里。',
    whatIf: '试用阈值', whatIfNow: '阈值 {value}', whatIfSame: '拖动横线试用其他阈值',
    whatIfNone: '{value}：最近 {all} 件判定不变', whatIfFlips: '{value}：最近 {all} 件中 {count} 件判定改变',
    whatIfKinds: '{good} 件变为合格，{bad} 件变为缺陷', reset: '还原', strip: '最近 {all} 件的综合得分',
    view: '结果图片及热力图', unreachable: '无法连接服务',
    keyOpen: '打开图片', keyCamera: '打开或关闭摄像头', keyShoot: '拍照', keyNewer: '较新的结果', keyOlder: '较旧的结果',
    keyPause: '暂停或继续', keyFollow: '跟随产线', keyHeat: '显示或隐藏热力图', keyGood: '标记为良品', keyBad: '标记为不良品',
  },
};
const REMEMBERED = 'duet-language';

let language = [localStorage.getItem(REMEMBERED), ...navigator.languages.map((name) => name.slice(0, 2)), 'en'].find((name) => name in TEXTS);

export const currentLanguage = () => language;

/** A text, its {places} filled. */
export function text(name, values = {}) {
  return TEXTS[language][name].replace(/\{(\w+)\}/g, (_, place) => values[place]);
}

/** A score as people read it: two digits, three where two would hide on which side of the threshold it lies. */
export function score(value, threshold = NaN) {
  const close = value.toFixed(2) === threshold.toFixed(2) && value !== threshold;
  return new Intl.NumberFormat(language, { minimumFractionDigits: close ? 3 : 2, maximumFractionDigits: close ? 3 : 2 }).format(value);
}

export function clock(date) {
  return new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }).format(date);
}

/** Put the texts of the chosen language into every element that names one. */
export function translate(root = document) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll('[data-text]')) element.textContent = text(element.dataset.text);
}

export function chooseLanguage(name) {
  language = name;
  localStorage.setItem(REMEMBERED, name);
  translate();
}
