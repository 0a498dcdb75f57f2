// How fast a text reaches the eye: frames a second, how far the page is behind the engine, and how soon the
// Stop button ends it. Prints tables for tests/bench/README.md; no test. With the argument `long` that of a long
// text alone, with `streams` that of the others. Those come from the host's toy, a hundred tokens a second by the
// clock (`cargo build --release --workspace --example toy_host`): all behind the engine is what is measured.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { binary, browserArguments, environment, folder, notebookOf, root, runAll, shots, startLab } from "./jupyterlab.mjs";
import { measureLong, prepareLong } from "./long.mjs";

const STOPS = 10;
const GENERATE = (tokens) => `let stamps = std::rc::Rc::new(std::cell::RefCell::new(Vec::<u128>::new())); let kept = stamps.clone();
let told = model.generate("A long list:").min_new_tokens(${tokens}).max_new_tokens(${tokens}).streamer(streamer.clone())
    .on_token(move |token| kept.borrow_mut().push(u128::from(token.produced_at / 1000))).run()?;
println!("STAMPS {:?}", stamps.borrow());`;
const CELLS = [
  `let model = AutoModelForCausalLM::from_pretrained("metronome").load()?;
let streamer = TextStreamer::new(&model.tokenizer()?).skip_prompt(true);`,
  GENERATE(1000),
  ...Array.from({ length: STOPS }, () => GENERATE(1500)),
];

const quantile = (values, share) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];

/** Notes when the page shows how many tokens. */
function watch() {
  window.frames_ = [];
  new MutationObserver(() => {
    const found = [...document.body.innerText.matchAll(/(\d+) tokens ·/g)].at(-1);
    const count = Number(found?.[1] ?? 0);
    const last = window.frames_.at(-1);
    if (count && last?.count !== count) window.frames_.push({ count, at: Date.now() });
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}

async function main() {
  mkdirSync(shots, { recursive: true });
  writeFileSync(join(folder, "measure.ipynb"), notebookOf(CELLS));
  prepareLong();
  const { lab, address } = await startLab(join(folder, "measure.ipynb"));
  const browser = await chromium.launch({ executablePath: process.env.WARMCELL_CHROMIUM ?? "/usr/bin/chromium", args: browserArguments });
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 1600 } });
    const page = await context.newPage();
    await page.goto(address, { timeout: 120_000 });
    if (process.argv[2] !== "long") {
      const toy = spawn(join(root, "target/release/examples/toy_host"), [], { env: environment, stdio: "ignore" });
      await measureStreams(page);
      spawnSync(binary, ["host", "stop"], { env: environment });
      toy.kill();
    }
    await page.close();
    if (process.argv[2] === "streams") return;
    const long = await context.newPage();
    await long.goto(new URL("/lab/workspaces/long/tree/long.ipynb", address).href, { timeout: 120_000 });
    await measureLong(long).catch(async (error) => { await long.screenshot({ path: join(shots, "failure.png") }); throw error; });
  } finally {
    await browser.close();
    lab.removeAllListeners("exit");
    lab.kill("SIGTERM");
    spawn(binary, ["host", "stop"], { env: environment, stdio: "ignore" });
  }
}

/** A table of one text, and of stops. */
async function measureStreams(page) {
  await page.evaluate(watch);
  await runAll(page);
  const output = (index) => page.locator(".jp-Notebook .jp-CodeCell").nth(index).locator(".jp-OutputArea").first();
  const stamps = async (index) => {
    const text = output(index).getByText(/STAMPS \[[^\]]*\]/).first();
    await text.waitFor({ timeout: 120_000 });
    const shown = await text.textContent();
    return JSON.parse(shown.match(/STAMPS\s*(\[[^\]]*\])/)?.[1] ?? assert.fail(`no stamps in ${shown.slice(0, 200)}`));
  };
  const engine = await stamps(1);
  const frames = (await page.evaluate(() => window.frames_)).filter((frame) => frame.at <= engine.at(-1) + 200);
  const lags = frames.map((frame) => frame.at - engine[frame.count - 1]);
  const seconds = (frames.at(-1).at - frames[0].at) / 1000;
  const ends = [];
  for (let index = 2; index < CELLS.length; index++) {
    await output(index).getByText(/\d\d tokens ·/).waitFor({ timeout: 60_000 });
    const stop = output(index).getByRole("button", { name: "Stop" });
    const pressed = await stop.evaluate((button) => { const now = Date.now(); button.click(); return now; });
    ends.push((await stamps(index)).at(-1) - pressed);
  }
  const speed = (engine.length - 1) / ((engine.at(-1) - engine[0]) / 1000);
  console.log(`load ${readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 2).join(" and ")} over one and five minutes`);
  console.log(`| tokens a second, engine | ${speed.toFixed(0)} |`);
  console.log(`| frames a second | ${(frames.length / seconds).toFixed(1)} |`);
  console.log(`| page behind engine, median and p95 | ${quantile(lags, 0.5)} and ${quantile(lags, 0.95)} ms |`);
  console.log(`| click on Stop to last token, median and longest of ${STOPS} | ${quantile(ends, 0.5)} and ${Math.max(...ends)} ms |`);
}

try {
  await main();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
