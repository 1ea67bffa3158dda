// Moves through the slides of a page, and fits what is on them.
"use strict";
const root = document.documentElement, slides = [...document.querySelectorAll("section")], notes = [...document.querySelectorAll("aside")];
const count = document.querySelector("footer span"), [before, after, speaker] = document.querySelectorAll("footer button");
const WIDTH = 1280, HEIGHT = 720, SHRINK = [1.2, 1.1, 1, 0.94, 0.88, 0.82, 0.76, 0.7, 0.65, 0.6, 0.55], PHONE = matchMedia("(max-width: 760px)");
let now = 0;

root.classList.add("js");

// A displayed formula that is wider than its line is set smaller, by itself.
function narrow(formula) {
  let size = 1;
  formula.style.setProperty("--narrow", size);
  for (let tries = 0; tries < 3 && formula.scrollWidth > formula.clientWidth; tries++) {     // its spaces do not all shrink with it
    size *= 0.98 * formula.clientWidth / formula.scrollWidth;
    formula.style.setProperty("--narrow", size);
  }
}

// The largest type at which the content fits its box. The box is measured at 1280 by 720, whatever the window, so paper gets the same.
function fit(slide) {
  if (slide.dataset.fits || PHONE.matches) return;
  const content = slide.querySelector(".content");
  for (const shrink of SHRINK) {
    content.style.setProperty("--shrink", shrink);
    for (const formula of content.querySelectorAll(".formula")) narrow(formula);
    if (slide.classList.contains("title") ? content.offsetTop >= 20 && slide.scrollHeight <= HEIGHT : content.scrollHeight <= content.clientHeight) break;
  }
  slide.dataset.fits = content.style.getPropertyValue("--shrink");
}

// A picture may come later than the script: what is on its slide is fitted when all are there.
function refit() {
  for (const slide of slides) { delete slide.dataset.fits; fit(slide); }
}

function place() {
  const room = document.body.classList.contains("with-notes") ? 0.66 * innerHeight : innerHeight;
  const zoom = Math.min(innerWidth / WIDTH, room / HEIGHT);
  root.style.setProperty("--zoom", zoom);
  root.style.setProperty("--x", `${(innerWidth - zoom * WIDTH) / 2}px`);
  root.style.setProperty("--y", `${(room - zoom * HEIGHT) / 2}px`);
}

function show(to, focus = true) {
  now = Math.max(0, Math.min(slides.length - 1, to));
  slides.forEach((slide, i) => slide.classList.toggle("shown", i === now));
  notes.forEach((note, i) => note.classList.toggle("shown", i === now));
  fit(slides[now]);
  before.disabled = now === 0;
  after.disabled = now === slides.length - 1;
  count.textContent = `${now + 1} / ${slides.length}`;
  history.replaceState(null, "", `#${now + 1}`);
  if (PHONE.matches) scrollTo(0, 0);
  if (focus) slides[now].focus({ preventScroll: true });
}

function toggleNotes() {
  speaker.setAttribute("aria-pressed", document.body.classList.toggle("with-notes"));
  place();
}

const KEYS = {
  ArrowRight: () => show(now + 1), ArrowLeft: () => show(now - 1), PageDown: () => show(now + 1), PageUp: () => show(now - 1),
  ArrowDown: () => show(now + 1), ArrowUp: () => show(now - 1), Home: () => show(0), End: () => show(slides.length - 1), n: toggleNotes, N: toggleNotes,
};

addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.target.closest("aside, button, a") && (event.key === " " || event.key.startsWith("Arrow"))) return;   // theirs
  if (PHONE.matches && /^(Arrow(Up|Down)|Page|Home|End)/.test(event.key)) return;                                   // they scroll
  const act = event.key === " " ? () => show(event.shiftKey ? now - 1 : now + 1) : KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});

// A swipe turns the page, and so does a tap, at the left edge backwards; what scrolls sideways keeps its swipes.
let touch = null;
const scrolls = (element) => element.closest("pre, table, .formula, footer, a, button, aside");
addEventListener("touchstart", (event) => {
  touch = event.touches.length === 1 && !scrolls(event.target) ? { x: event.touches[0].clientX, y: event.touches[0].clientY, time: event.timeStamp } : null;
}, { passive: true });
addEventListener("touchend", (event) => {
  if (!touch) return;
  const dx = event.changedTouches[0].clientX - touch.x, dy = event.changedTouches[0].clientY - touch.y;
  if (Math.abs(dx) > 45 && Math.abs(dx) > 2 * Math.abs(dy)) show(dx < 0 ? now + 1 : now - 1);
  else if (Math.hypot(dx, dy) < 10 && event.timeStamp - touch.time < 350) show(touch.x > innerWidth / 4 ? now + 1 : now - 1);
  touch = null;
}, { passive: true });

before.addEventListener("click", () => show(now - 1, false));
after.addEventListener("click", () => show(now + 1, false));
speaker.addEventListener("click", toggleNotes);
addEventListener("hashchange", () => show(Number(location.hash.slice(1)) - 1 || 0));
addEventListener("resize", () => { place(); fit(slides[now]); });
addEventListener("beforeprint", refit);
addEventListener("load", refit);
place();
show(Number(location.hash.slice(1)) - 1 || 0, false);
