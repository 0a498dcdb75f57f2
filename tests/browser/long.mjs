// How a page feels while a text of 20,000 tokens grows in it, and afterwards: the time from a key to the next
// frame, and what keeps the page's thread for longer than 50 ms. The model is the engine's tiny one, whose
// tokens are numbers; the way to the page is that of any model.

import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { folder, notebookOf, root, runAll } from "./jupyterlab.mjs";

const TOKENS = 20_000;
const KEYS = 60;

const CELLS = [
  `%%bash
mkdir -p tiny && cp fixtures/families/llama_long_prompt/model.safetensors tiny/
sed 's/"max_position_embeddings": 512/"max_position_embeddings": 32768/' fixtures/families/llama_long_prompt/config.json > tiny/config.json
python3 - <<END
import json
model = {"type": "WordLevel", "vocab": {f"{number:02}": number for number in range(96)}, "unk_token": "00"}
json.dump({"version": "1.0", "model": model, "pre_tokenizer": {"type": "WhitespaceSplit"}}, open("tiny/tokenizer.json", "w"))
json.dump({"tokenizer_class": "PreTrainedTokenizerFast"}, open("tiny/tokenizer_config.json", "w"))
END`,
  `let model = AutoModelForCausalLM::from_pretrained("tiny").load()?; let streamer = TextStreamer::new(&model.tokenizer()?).skip_prompt(true);`,
  "// Keys go here.",
  `let told = model.generate("01 02 03").do_sample(true).seed(1).min_new_tokens(${TOKENS}).max_new_tokens(${TOKENS}).streamer(streamer).run()?;
println!("ENDED {}", told.ids().len());`,
];

export function prepareLong() {
  symlinkSync(join(root, "lib/engine/tests/fixtures"), join(folder, "fixtures"));
  writeFileSync(join(folder, "long.ipynb"), notebookOf(CELLS));
}

/** Notes long tasks, and for each key the time to the next frame. */
function watch() {
  window.long_ = [];
  window.keys_ = [];
  new PerformanceObserver((list) => window.long_.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "longtask" });
  document.addEventListener("keydown", (event) => {
    // The event's own time is when it came, also where the page was busy.
    requestAnimationFrame(() => setTimeout(() => window.keys_.push(performance.now() - event.timeStamp)));
  }, true);
}

const quantile = (values, share) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];

/** Types into the second cell, a key every tenth of a second, while a condition holds; gives a row of the table. */
async function type(page, name, goesOn) {
  await page.evaluate(() => { window.long_.length = 0; window.keys_.length = 0; });
  for (let key = 0; key < KEYS && await goesOn(); key++) {
    await page.keyboard.press("x");
    await page.waitForTimeout(100);
  }
  const { keys, long } = await page.evaluate(() => ({ keys: window.keys_, long: window.long_ }));
  const [median, p95, most] = [quantile(keys, 0.5), quantile(keys, 0.95), Math.max(...keys)].map((value) => value.toFixed(0));
  const tasks = long.length ? `${long.length}, the longest ${Math.max(...long).toFixed(0)} ms` : "none";
  console.log(`| ${name} | ${keys.length} | ${median}, ${p95} and ${most} ms | ${tasks} |`);
}

export async function measureLong(page) {
  const cell = (index) => page.locator(".jp-Notebook .jp-CodeCell").nth(index);
  const output = cell(3).locator(".jp-OutputArea").first();
  await page.evaluate(watch);
  await runAll(page);
  await output.getByText(/\d\d tokens ·/).waitFor({ timeout: 60_000 });
  await cell(2).locator(".cm-content").click();
  await page.keyboard.press("End");
  const count = async () => Number((await output.innerText()).match(/(\d+) tokens ·/)?.[1] ?? TOKENS);
  console.log(`| | keys | to the next frame: median, p95, longest | tasks over 50 ms |\n|---|---|---|---|`);
  await type(page, "its first six seconds", async () => true);
  while (await count() < TOKENS * 0.8) await page.waitForTimeout(200);
  await type(page, "its last fifth", async () => await count() < TOKENS);
  await output.getByText(`ENDED ${TOKENS}`).waitFor({ timeout: 300_000 });
  await type(page, "when it is done", async () => true);
}
