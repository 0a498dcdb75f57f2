//! The discreet line that says what is compiling, once that takes more than a second. It is gone
//! before the cell's first output, and leaves nothing in a saved notebook.
//!
//! The line is the cell's first output and asks at once to be cleared by the next one, which front ends
//! and nbclient do alike; when none comes, it is cleared here. In a cell that has shown something
//! before it compiles, clearing would take that away: there the line stays, and says how long it took.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use display::{html, units};
use jupyter::Publisher;
use wire::mime::Bundle;

/// What takes less time shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(250);
/// File in the crate's folder to which each compiled crate adds its line.
const CRATES: &str = "compiling.txt";

/// Where the line is shown: the running cell's outputs.
pub trait Page: Send + 'static {
    /// Shows a value that can be replaced.
    fn display(&self, bundle: Bundle, display_id: &str);
    /// Replaces it.
    fn update(&self, bundle: Bundle, display_id: &str);
    /// Clears all outputs of the cell, now or when the next one comes.
    fn clear(&self, wait: bool);
    /// How many outputs the cell has shown.
    fn outputs(&self) -> u64;
}

impl Page for Publisher {
    fn display(&self, bundle: Bundle, display_id: &str) {
        self.display(bundle, Some(display_id));
    }

    fn update(&self, bundle: Bundle, display_id: &str) {
        self.update_display(bundle, display_id);
    }

    fn clear(&self, wait: bool) {
        self.clear_output(wait);
    }

    fn outputs(&self) -> u64 {
        self.outputs()
    }
}

/// What keeps the cell from running; `None` when nothing does.
pub trait Probe: Send + 'static {
    /// Asked a few times a second: `compiling serde 1.0.219`.
    fn doing(&mut self) -> Option<String>;
}

/// Shows the line while compilers run, until it is dropped.
pub struct Busy {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    /// A cell compiles from now on, until this is dropped. Costs a thread that sleeps.
    pub fn compiling(out: Publisher) -> Self {
        Self::watch(out, TheCell)
    }

    /// A cell goes to evcxr, which may have to come up, and to cargo, which compiles it, and crates
    /// before it, in `crate_dir`; then it runs.
    pub fn following_cargo(out: Publisher, crate_dir: &Path, is_open: Arc<AtomicBool>) -> Self {
        let crates = crate_dir.join(CRATES);
        let _ = fs::remove_file(&crates);
        Self::watch(out, Cargo { crates, is_open })
    }

    /// Shows what `probe` finds on `page`.
    pub fn watch(page: impl Page, probe: impl Probe) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("busy".to_owned())
            .spawn(move || Line::new(page).run(probe, &stopped));
        Self {
            stop: Some(stop),
            // Without a thread there is no line, which is no reason to fail a cell.
            thread: thread.ok(),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Line<P> {
    page: P,
    display_id: String,
    /// How often the line has begun: each time is an output of the cell.
    begun: u64,
    shown: Option<Shown>,
}

struct Shown {
    text: String,
    /// The cell's outputs with the line.
    outputs: u64,
    /// Whether the line is the only one.
    alone: bool,
}

impl<P: Page> Line<P> {
    fn new(page: P) -> Self {
        Self {
            page,
            display_id: format!("warmcell-busy-{}", uuid::Uuid::new_v4()),
            begun: 0,
            shown: None,
        }
    }

    fn run(mut self, mut probe: impl Probe, stopped: &Receiver<()>) {
        let started = Instant::now();
        let mut pause = PATIENCE;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            match probe.doing() {
                Some(what) => self.show(&what, started),
                None => self.hide(started),
            }
            pause = FRAME;
        }
        self.hide(started);
    }

    fn show(&mut self, what: &str, started: Instant) {
        let text = format!("{what} · {} s", started.elapsed().as_secs());
        match &mut self.shown {
            Some(shown) => {
                // An output that came since has cleared it.
                let is_there = !shown.alone || self.page.outputs() == shown.outputs;
                if is_there && shown.text != text {
                    self.page.update(line(&text), &self.display_id);
                    shown.text = text;
                }
            }
            None => self.begin(text),
        }
    }

    fn begin(&mut self, text: String) {
        let alone = self.page.outputs() == self.begun;
        // Beside other outputs it stays, so once is enough.
        if !alone && self.begun > 0 {
            return;
        }
        self.page.display(line(&text), &self.display_id);
        if alone {
            self.page.clear(true);
        }
        self.begun += 1;
        let outputs = self.page.outputs();
        self.shown = Some(Shown {
            text,
            outputs,
            alone,
        });
    }

    fn hide(&mut self, started: Instant) {
        let Some(shown) = self.shown.take() else {
            return;
        };
        if !shown.alone {
            let seconds = units::seconds(started.elapsed().as_secs_f64());
            self.page
                .update(line(&format!("compiled in {seconds}")), &self.display_id);
        } else if self.page.outputs() == shown.outputs {
            self.page.clear(false);
        }
    }
}

fn line(text: &str) -> Bundle {
    let html = format!("<div style=\"opacity: 0.7;\">{}</div>", html::escape(text));
    Bundle::text(text).with("text/html", html)
}

/// A cell on its way through rustc.
struct TheCell;

impl Probe for TheCell {
    fn doing(&mut self) -> Option<String> {
        Some(CELL.to_owned())
    }
}

const CELL: &str = "compiling the cell";

/// cargo among the kernel's own children, and the crates it has come to.
struct Cargo {
    crates: PathBuf,
    is_open: Arc<AtomicBool>,
}

impl Probe for Cargo {
    fn doing(&mut self) -> Option<String> {
        if !self.is_open.load(Ordering::SeqCst) {
            return Some("bringing up the analysis of Rust".to_owned());
        }
        if !cargo_runs() {
            return None;
        }
        let crates = fs::read_to_string(&self.crates).unwrap_or_default();
        // A crate with a build script is there twice.
        let number = crates.lines().collect::<HashSet<_>>().len();
        Some(match crates.lines().last() {
            Some(last) if number > 1 => format!("compiling {last} (crate {number})"),
            Some(last) => format!("compiling {last}"),
            None => CELL.to_owned(),
        })
    }
}

/// Adds a crate to the list in the crate's folder; called in the compiler's process.
pub fn announce(crate_dir: &Path, name: &str) {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(crate_dir.join(CRATES));
    if let Ok(mut file) = file {
        // In one piece, since several compilers write.
        let _ = file.write_all(format!("{name}\n").as_bytes());
    }
}

/// Whether a child of the kernel is cargo. A compiler that waits for the next cell is none.
fn cargo_runs() -> bool {
    let own = std::process::id();
    let Ok(threads) = fs::read_dir(format!("/proc/{own}/task")) else {
        return false;
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .any(|child| {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            name.trim_end() == "cargo"
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Recorded(Arc<Mutex<(Vec<String>, u64)>>);

    impl Recorded {
        fn note(&self, what: String, outputs: u64) {
            let mut state = self.0.lock().expect("is not poisoned");
            state.0.push(what);
            state.1 += outputs;
        }

        /// What happened, with how often the same came in a row left out.
        fn events(&self) -> Vec<String> {
            let mut events = self.0.lock().expect("is not poisoned").0.clone();
            events.dedup();
            events
        }
    }

    impl Page for Recorded {
        fn display(&self, bundle: Bundle, _: &str) {
            self.note(format!("display {}", words(&bundle)), 1);
        }
        fn update(&self, bundle: Bundle, _: &str) {
            self.note(format!("update {}", words(&bundle)), 0);
        }
        fn clear(&self, wait: bool) {
            self.note(format!("clear {wait}"), 0);
        }
        fn outputs(&self) -> u64 {
            self.0.lock().expect("is not poisoned").1
        }
    }

    fn words(bundle: &Bundle) -> String {
        let text = bundle.get("text/plain").expect("always has text");
        text.split(" · ").next().unwrap_or_default().to_owned()
    }

    struct Until(Instant);

    impl Probe for Until {
        fn doing(&mut self) -> Option<String> {
            (Instant::now() < self.0).then(|| "compiling <b>".to_owned())
        }
    }

    fn watch(page: &Recorded, compiles: Duration) -> Busy {
        Busy::watch(page.clone(), Until(Instant::now() + compiles))
    }

    #[test]
    fn a_short_compile_shows_nothing() {
        let page = Recorded::default();
        drop(watch(&page, Duration::from_secs(9)));
        assert_eq!(page.events(), [""; 0]);
    }

    #[test]
    fn the_line_goes_when_the_compiler_does() {
        let page = Recorded::default();
        let busy = watch(&page, Duration::from_millis(1600));
        thread::sleep(Duration::from_secs(3));
        let expected = ["display compiling <b>", "clear true", "clear false"];
        assert_eq!(page.events(), expected);
        drop(busy);
        assert_eq!(page.events(), expected, "and only once");
    }

    #[test]
    fn an_output_of_the_cell_takes_the_lines_place() {
        let page = Recorded::default();
        let busy = watch(&page, Duration::from_secs(9));
        thread::sleep(Duration::from_millis(1100));
        page.note("printed".to_owned(), 1);
        drop(busy);
        let events = page.events();
        assert_eq!(
            events.last().map(String::as_str),
            Some("printed"),
            "{events:?}"
        );
    }

    #[test]
    fn a_second_compile_of_the_cell_is_told_as_well() {
        let page = Recorded::default();
        let mut line = Line::new(page.clone());
        for _ in 0..2 {
            line.show("compiling", Instant::now());
            line.hide(Instant::now());
        }
        let once = ["display compiling", "clear true", "clear false"];
        assert_eq!(page.events(), [once, once].concat());
        page.note("printed".to_owned(), 1);
        line.show("compiling", Instant::now());
        assert_eq!(page.events().len(), 7, "not beside the cell's outputs");
    }

    #[test]
    fn what_was_shown_before_is_not_cleared() {
        let page = Recorded::default();
        page.note("printed".to_owned(), 1);
        let busy = watch(&page, Duration::from_secs(9));
        thread::sleep(Duration::from_millis(1100));
        drop(busy);
        let events = page.events();
        assert_eq!(events[..2], ["printed", "display compiling <b>"]);
        assert!(
            events[2].starts_with("update compiled in 1.1"),
            "{events:?}"
        );
    }

    #[test]
    fn the_line_is_escaped() {
        let html = line("<img src=x>").get("text/html").map(str::to_owned);
        assert!(html.is_some_and(|html| html.contains("&lt;img")));
    }
}
