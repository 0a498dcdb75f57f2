// A notebook with every display, run in JupyterLab: its texts stand out in both themes; and when it is
// saved, all of it reads in a JupyterLab that does not trust it, as nbconvert's page, and in print.

import assert from "node:assert/strict";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { weakTexts } from "./contrast.mjs";
import { configure, folder, root, runAll, shots, until } from "./jupyterlab.mjs";

const THEMES = { light: "JupyterLab Light", dark: "JupyterLab Dark" };
const PAGE_HEIGHT = 2000;
const TRACKER = "@jupyterlab/notebook-extension:tracker";

/** Puts the notebook where JupyterLab looks, with the models that it names. */
export function prepareSaved() {
  symlinkSync(join(root, "lib/engine/tests/fixtures"), join(folder, "fixtures"));
  cpSync(join(root, "tests/e2e/displays.ipynb"), join(folder, "displays.ipynb"));
}

export async function runSaved(page) {
  configure(TRACKER, { windowingMode: "none" });
  await page.reload();
  await runAll(page);
  // The last cells fail on purpose, and are marked so: those behind them run.
  await until(page, "the last cell's number", () => /\[\d+\]/.test([...document.querySelectorAll(".jp-Notebook .jp-CodeCell .jp-InputPrompt")].at(-1)?.textContent ?? ""));
  for (const [name, theme] of Object.entries(THEMES)) await look(page, `displays-${name}`, theme);
  const saved = await readUntrusted(page, "displays");
  await readPage(page, saved);
  await saveWidgets(page);
}

/** Pictures of all of the notebook in a theme, and the contrast of its texts. */
async function look(page, name, theme) {
  await page.evaluate((theme) => window.jupyterapp.commands.execute("apputils:change-theme", { theme }), theme);
  await until(page, theme, (isLight) => document.body.dataset.jpThemeLight === isLight, 20_000, String(theme === THEMES.light));
  await picture(page, name);
  const { count, weak } = await page.evaluate(weakTexts);
  assert.ok(count > 1000, `only ${count} texts were looked at`);
  assert.deepEqual(weak, [], `${name}: too little contrast`);
}

/** The notebook from top to bottom. */
async function picture(page, name) {
  const before = page.viewportSize();
  await page.setViewportSize({ width: before.width, height: PAGE_HEIGHT });
  const notebook = page.locator(".jp-NotebookPanel-notebook");
  const { height, seen } = await notebook.evaluate((panel) => {
    const outer = panel.querySelector(".jp-WindowedPanel-outer") ?? panel;
    return { height: outer.scrollHeight, seen: outer.clientHeight };
  });
  for (let number = 0; number * seen < height; number++) {
    await notebook.evaluate((panel, top) => { (panel.querySelector(".jp-WindowedPanel-outer") ?? panel).scrollTop = top; }, number * seen);
    await notebook.screenshot({ path: join(shots, `${name}-${number + 1}.png`) });
  }
  await page.setViewportSize(before);
}

/** What is to be read of an output where scripts, widgets and trust are missing. */
function readable(output) {
  const joined = (text) => Array.isArray(text) ? text.join("") : text;
  if (output.output_type === "stream") return { text: joined(output.text) };
  if (output.output_type === "error") return { text: output.traceback.join("") };
  const { data } = output;
  if (data["text/html"]) return { html: joined(data["text/html"]) };
  if (data["text/markdown"]) return { text: joined(data["text/markdown"]).replace(/[*`]/g, "") };
  // A picture shows itself, and JupyterLab folds JSON.
  return { text: Object.keys(data).length > 1 ? "" : joined(data["text/plain"]) };
}

/** The texts of outputs as they are stored that the page does not show. To be run in the page. */
function missing({ outputs, selector }) {
  const squeeze = (text) => text.replace(/\u001b\[[0-9;]*m/g, "").replace(/\s+/g, "");
  const shown = squeeze([...document.querySelectorAll(selector)].map((node) => node.textContent).join(""));
  const texts = outputs.map(({ html, text }) => html ? new DOMParser().parseFromString(html, "text/html").body.textContent : text);
  return texts.map(squeeze).filter((text) => !shown.includes(text)).map((text) => text.slice(0, 200));
}

const outputsOf = (notebook) => notebook.cells.flatMap((cell) => cell.outputs ?? []);

/** A notebook as somebody else gets it: no signature is known for it. All of it is to be read. */
export async function readUntrusted(page, name) {
  await page.evaluate(() => window.jupyterapp.commands.execute("docmanager:save"));
  const saved = JSON.parse(readFileSync(join(folder, `${name}.ipynb`), "utf8"));
  const other = `${name}-untrusted`;
  writeFileSync(join(folder, `${other}.ipynb`), JSON.stringify({ ...saved, metadata: { ...saved.metadata, title: "from elsewhere" } }));
  // All cells stay in the page, so that it can be read as a whole.
  configure(TRACKER, { windowingMode: "none" });
  await page.goto(new URL(`/lab/workspaces/${other}/tree/${other}.ipynb`, page.url()).href, { timeout: 120_000 });
  await page.locator(".jp-Notebook .jp-OutputArea-output").first().waitFor({ timeout: 60_000 });
  const charts = outputsOf(saved).filter((output) => output.data?.["application/vnd.vegalite.v5+json"]).length;
  if (charts) await page.locator(".vega-embed canvas, .vega-embed svg").nth(charts - 1).waitFor({ timeout: 20_000 });
  const isTrusted = await page.evaluate(() =>
    [...window.jupyterapp.shell.currentWidget.model.cells].some((cell) => cell.type === "code" && cell.trusted));
  assert.equal(isTrusted, false, "it is trusted");
  const selector = ".jp-OutputArea-output";
  assert.deepEqual(await page.evaluate(missing, { outputs: outputsOf(saved).map(readable), selector }), [], "not to be read untrusted");
  // A picture of its own has its description in its metadata, which JupyterLab does not look at.
  assert.equal(await page.locator(".jp-RenderedHTML img:not([alt])").count(), 0);
  await picture(page, other);
  configure(TRACKER, {});
  return saved;
}

/** With JupyterLab's setting that keeps widgets in the notebook: GitHub refuses one that has them without their state. */
async function saveWidgets(page) {
  configure("@jupyter-widgets/jupyterlab-manager:plugin", { saveState: true });
  await page.goto(new URL("/lab/workspaces/displays/tree/displays.ipynb", page.url()).href, { timeout: 120_000 });
  await page.locator(".jp-Notebook .noUi-handle").first().waitFor({ timeout: 60_000 });
  await page.evaluate(() => window.jupyterapp.commands.execute("docmanager:save"));
  const saved = JSON.parse(readFileSync(join(folder, "displays.ipynb"), "utf8"));
  const { state, version_major } = saved.metadata.widgets["application/vnd.jupyter.widget-state+json"];
  const shown = outputsOf(saved).map((output) => output.data?.["application/vnd.jupyter.widget-view+json"]?.model_id).filter(Boolean);
  // Those of cells, and the lists of models and of variables.
  assert.ok(version_major === 2 && shown.length === 4 && shown.every((id) => state[id]), `widgets without their state: ${shown}`);
}

/** What nbconvert makes of it, without scripts and without any other server; and on paper. */
async function readPage(page, saved) {
  const html = await page.evaluate(async () => (await fetch("/nbconvert/html/displays.ipynb?download=false")).text());
  const context = await page.context().browser().newContext({ javaScriptEnabled: false, offline: true, viewport: { width: 1000, height: PAGE_HEIGHT } });
  const reader = await context.newPage();
  await reader.setContent(html, { waitUntil: "load" });
  const selector = ".jp-OutputArea-output, .jp-OutputArea-child";
  assert.deepEqual(await reader.evaluate(missing, { outputs: outputsOf(saved).map(readable), selector }), [], "not on nbconvert's page");
  const images = await reader.locator(".jp-OutputArea img").evaluateAll((all) => all.map((image) => [image.alt, image.src.slice(0, 11)]));
  assert.ok(images.length >= 3 && images.every(([alt, source]) => alt.length > 10 && source === "data:image/"), JSON.stringify(images));
  await reader.screenshot({ path: join(shots, "displays-page.png"), fullPage: true });

  await reader.emulateMedia({ media: "print" });
  // The width of A4 within nbconvert's margins; what is wider is cut on paper.
  await reader.setViewportSize({ width: 718, height: 1000 });
  const wide = await reader.evaluate(() => [...document.querySelectorAll(".jp-OutputArea-output")]
    .filter((output) => output.scrollWidth > output.clientWidth + 1).map((output) => `${output.scrollWidth} > ${output.clientWidth}: ${output.textContent.trim().slice(0, 80)}`));
  await reader.pdf({ path: join(shots, "displays.pdf"), format: "A4" });
  assert.deepEqual(wide, [], "wider than paper");
  await context.close();
}
