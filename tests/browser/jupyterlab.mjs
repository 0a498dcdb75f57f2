// A JupyterLab as a user starts it, by `warmcell lab`, with folders of its own, and a browser that looks
// at it.

import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
export const binary = process.env.WARMCELL_TEST_BINARY ?? join(root, "target/release/warmcell");
export const shots = join(root, "target/screenshots");
export const folder = mkdtempSync(join(tmpdir(), "wc-lab-"));
export const browserArguments = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const environment = {
  ...process.env,
  XDG_RUNTIME_DIR: folder,
  JUPYTER_DATA_DIR: join(folder, "jupyter"),
  JUPYTER_RUNTIME_DIR: join(folder, "runtime"),
  JUPYTER_CONFIG_DIR: join(folder, "config"),
  JUPYTERLAB_WORKSPACES_DIR: join(folder, "workspaces"),
  JUPYTERLAB_SETTINGS_DIR: join(folder, "settings"),
};

/** Settings of the user's, as JupyterLab stores them, for pages that are opened from now on. */
export function configure(plugin, settings) {
  const [extension, name] = plugin.split(":");
  const at = join(environment.JUPYTERLAB_SETTINGS_DIR, extension);
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, `${name}.jupyterlab-settings`), JSON.stringify(settings));
}

/** Starts JupyterLab on a copy of the notebook, and gives its process and its address. */
export function startLab(notebook) {
  // Else it asks, in front of what is looked at.
  configure("@jupyterlab/apputils-extension:notification", { fetchNews: "false" });
  const options = ["--no-browser", "--ServerApp.port=0", "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.expose_app_in_browser=True"];
  const lab = spawn(binary, ["lab", notebook, "--", ...options], { env: environment, stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  return new Promise((found, fail) => {
    const read = (chunk) => {
      log += chunk;
      const address = log.match(/http:\/\/127\.0\.0\.1:\d+\/lab\S*token=[0-9a-f]+/);
      if (address) found({ lab, address: address[0] });
    };
    lab.stdout.on("data", read);
    lab.stderr.on("data", read);
    lab.on("exit", (code) => fail(new Error(`JupyterLab ended with ${code}:\n${log}`)));
    setTimeout(() => fail(new Error(`JupyterLab gave no address in 10 minutes:\n${log}`)), 600_000).unref();
  });
}

/** Waits until a condition on the page's notebook holds. */
export async function until(page, what, condition, limit = 240_000, argument = null) {
  try {
    await page.waitForFunction(condition, argument, { timeout: limit, polling: 40 });
  } catch (error) {
    await page.screenshot({ path: join(shots, "failure.png") });
    throw new Error(`not seen: ${what} (see target/screenshots/failure.png)`, { cause: error });
  }
}

/** The cell whose source has this in it. */
export const cellWith = (page, code) => page.locator(".jp-CodeCell", { hasText: code });

/** A notebook of these cells. */
export function notebookOf(sources) {
  const cell = (source, index) => ({ cell_type: "code", id: `cell-${index}`, metadata: {}, source, outputs: [], execution_count: null });
  const kernelspec = { name: "warmcell", display_name: "Rust (Warmcell)", language: "rust" };
  return JSON.stringify({ nbformat: 4, nbformat_minor: 5, metadata: { kernelspec }, cells: sources.map(cell) });
}

/** Runs all cells, once the kernel is there. */
export async function runAll(page) {
  await page.locator(".jp-Notebook .jp-CodeCell").first().waitFor({ timeout: 120_000 });
  // The status bar's words come with the session; to run before is to be asked for a kernel.
  await until(page, "the kernel is idle", () => document.body.innerText.includes("Rust (Warmcell) | Idle"), 120_000);
  await page.locator(".jp-MainAreaWidget.jp-NotebookPanel").click({ position: { x: 5, y: 300 } });
  await page.getByRole("menuitem", { name: "Run", exact: true }).click();
  await page.getByText("Run All Cells", { exact: true }).click();
}
