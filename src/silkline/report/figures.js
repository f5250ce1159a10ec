// Shows the values under the pointer, or at the stop that the arrow keys have reached.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function nearest(stops, x) {
  let best = 0;
  for (let i = 1; i < stops.length; i += 1) {
    if (Math.abs(stops[i] - x) < Math.abs(stops[best] - x)) best = i;
  }
  return best;
}

function tipOf(data, stop) {
  const list = element("dl");
  for (const series of data.series) {
    const name = element("dt");
    const swatch = element("i");
    if (series.colour) swatch.className = series.colour;
    name.append(swatch, series.name);
    list.append(name, element("dd", series.texts[stop]));
  }
  return [element("p", data.labels[stop]), list];
}

function attach(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const box = figure.querySelector(".plot");
  const svg = box.querySelector("svg");
  const view = svg.viewBox.baseVal;
  const cross = document.createElementNS(SVG, "line");
  cross.setAttribute("class", "cross");
  cross.setAttribute("y1", "18");
  cross.setAttribute("y2", String(view.height - 40));
  const tip = element("div");
  tip.className = "tip";
  tip.hidden = true;
  box.append(tip);
  let stop = -1;

  function hide() {
    tip.hidden = true;
    cross.remove();
    stop = -1;
  }

  function show(wanted) {
    stop = Math.max(0, Math.min(data.x.length - 1, wanted));
    const x = data.x[stop];
    cross.setAttribute("x1", x);
    cross.setAttribute("x2", x);
    svg.append(cross);
    tip.replaceChildren(...tipOf(data, stop));
    tip.hidden = false;
    const at = (x / view.width) * svg.clientWidth;
    const left = at > svg.clientWidth / 2 ? at - tip.offsetWidth - 14 : at + 14;
    tip.style.left = `${Math.max(0, left)}px`;
    tip.style.top = "1.25rem";
    svg.setAttribute("aria-description", tip.innerText.replace(/\s+/g, " "));
  }

  svg.addEventListener("pointermove", (event) => {
    const bounds = svg.getBoundingClientRect();
    show(nearest(data.x, ((event.clientX - bounds.left) / bounds.width) * view.width));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: stop + 1, ArrowLeft: stop - 1, Home: 0, End: data.x.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  });
}

for (const figure of document.querySelectorAll("figure:has(script)")) attach(figure);
