// What a screen reader is told, through one polite live region: at most one text
// a second, so that a burst of messages is summed up instead of read out.

const pause = 1000;

export function announcer(region) {
  let waiting = [];
  let timer = null;

  const flush = () => {
    timer = null;
    if (waiting.length === 0) return;
    region.textContent = waiting.length <= 3 ? waiting.join(" ") : `${waiting.length} events; the last: ${waiting.at(-1)}`;
    waiting = [];
    timer = setTimeout(flush, pause);
  };
  return (text) => {
    waiting.push(text);
    if (timer === null) timer = setTimeout(flush, 100);
  };
}
