/** Line charts, drawn by uPlot; each has a description in words for screen readers. */

import { h } from "./dom.js";
import { UNKNOWN, moment } from "./format.js";

const HEIGHT = 150;

/**
 * @typedef {{label: string, colour: string, read: (point: any) => number | null | undefined,
 *   dash?: number[]}} Series
 *   `colour` is the name of a custom property in theme.css
 * @typedef {{at: (point: any) => number, tick: (value: number) => string, isTime: boolean,
 *   band: [number, number] | null, range: (points: any[]) => [number, number] | null}} Layout
 *   what is across and how its ticks are written; two series, by number from 0, with the area
 *   between them filled; the values that the scale shows, null for those of the data and 0
 */

/** @type {Layout} */
const OVER_TIME = {
  at: (point) => point.at,
  tick: (value) => moment(value).slice(11),
  isTime: true,
  band: null,
  range: () => null,
};

export class Chart {
  /** @type {any} */
  #plot = null;
  #theme = "";
  /** @type {HTMLElement} */
  #box;
  #legend;
  /** @type {[number, number] | null} */
  #range = null;

  /**
   * @param {string} title
   * @param {Series[]} series
   * @param {(value: number) => string} format
   * @param {Partial<Layout>} [layout]
   */
  constructor(title, series, format, layout = {}) {
    this.title = title;
    this.series = series;
    this.format = format;
    this.layout = { ...OVER_TIME, ...layout };
    this.#box = h("div", { class: "plot", role: "img" });
    this.#legend = h("ul", { class: "keys" });
    this.element = h("figure", { class: "card chart" }, h("figcaption", {}, title), this.#box, this.#legend);
    new ResizeObserver(() => this.#resize()).observe(this.#box);
  }

  /** @param {any[]} points oldest first */
  draw(points) {
    this.#range = this.layout.range(points);
    const data = [
      points.map(this.layout.at),
      ...this.series.map((one) => points.map((point) => one.read(point) ?? null)),
    ];
    const theme = this.#colours().join();
    if (this.#plot !== null && theme !== this.#theme) {
      this.#plot.destroy();
      this.#plot = null;
    }
    this.#theme = theme;
    if (this.#plot === null) this.#plot = this.#create(data);
    else this.#plot.setData(data);
    this.#describe(points.at(-1));
  }

  /** Shows the newest values as text. */
  #describe(point) {
    const values = this.series.map((one) => {
      const value = point && one.read(point);
      return [one.label, typeof value === "number" ? this.format(value) : UNKNOWN, one.colour];
    });
    this.#box.setAttribute("aria-label", `${this.title}: ${values.map(([name, value]) => `${name} ${value}`).join(", ")}`);
    this.#legend.replaceChildren(...values.map(([name, value, colour]) =>
      h("li", { "data-colour": colour }, h("span", {}, name), " ", h("span", { class: "value" }, value))));
  }

  #create(data) {
    const [text, grid, ...lines] = this.#colours();
    const { band, isTime, tick } = this.layout;
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return new window.uPlot(
      {
        width: Math.max(120, this.#box.clientWidth),
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: isTime },
          y: { range: (_, low, high) => this.#range ?? [Math.min(0, low ?? 0), Math.max(high ?? 0, 1e-9) * 1.1] },
        },
        bands: band === null ? [] : [{ series: [band[0] + 1, band[1] + 1], fill: faint(lines[band[0]]) }],
        axes: [
          { ...axis, space: 70, size: 30, values: (_, ticks) => ticks.map(tick) },
          { ...axis, size: 62, values: (_, ticks) => ticks.map((value) => this.format(value)) },
        ],
        series: [
          {},
          ...this.series.map((one, index) => ({ label: one.label, stroke: lines[index], width: 2, dash: one.dash, points: { show: false } })),
        ],
      },
      data,
      this.#box,
    );
  }

  /** The colours of text, grid and lines in the theme of this moment. */
  #colours() {
    const style = getComputedStyle(this.#box);
    const colour = (name) => {
      this.#box.style.color = `var(--${name})`;
      return style.color;
    };
    const found = ["muted", "line", ...this.series.map((one) => one.colour)].map(colour);
    this.#box.style.color = "";
    return found;
  }

  #resize() {
    const width = this.#box.clientWidth;
    if (this.#plot !== null && width > 0 && width !== this.#plot.width) {
      this.#plot.setSize({ width, height: HEIGHT });
    }
  }
}

/** A colour as the fill of an area. */
const faint = (colour) => colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.22)");
