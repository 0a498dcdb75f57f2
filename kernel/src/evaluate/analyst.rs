//! evcxr, on a thread of its own: it takes seconds to load, and cells do not wait for that. What
//! cells compiled by rustc alone define is told to it afterwards, so that completion, `:dep` and the
//! cells that only evcxr compiles find it.

use std::{
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use evcxr::CommandContext;
use jupyter::{Completion, Completions};
use wire::mime::Bundle;

use super::{
    direct::{self, Cell, Item, Program, Variable},
    documentation, members, unsafe_folder,
};
use crate::commands::{Analysis, Patience};

/// How long the kernel's first cell has the machine to itself.
const HEAD_START: Duration = Duration::from_secs(2);

/// Stands in the code of a cell that has run already.
const HAS_RUN: &str = "let _ = \"warmcell:has-run\";";

/// Whether evcxr is told of this cell alone, and nothing is to be compiled.
pub fn has_run_already(source: &Path) -> bool {
    fs::read_to_string(source).is_ok_and(|source| source.lines().any(|line| line == HAS_RUN))
}

type Task = Box<dyn FnOnce(&mut Evcxr) + Send>;

enum Message {
    /// Load now.
    Load,
    Do(Task),
    /// When it is open, which is no reason to open it.
    Later(Task),
}

/// What runs on the thread.
struct Evcxr {
    open: Box<dyn Fn() -> Result<CommandContext> + Send>,
    context: Result<CommandContext>,
    /// What it has not been told yet.
    untold: Vec<Report>,
}

/// What a cell has defined, for evcxr.
struct Report {
    code: String,
    /// How often it has not been taken over: an interrupt may have ended the compiler.
    failures: u32,
}

/// A report that evcxr does not take over this often, it does not understand.
const ATTEMPTS: u32 = 3;

impl Evcxr {
    /// Opens it again when that failed, as it does when an interrupt ends what it has started.
    fn open(&mut self) {
        if self.context.is_err() {
            self.context = catch_unwind(AssertUnwindSafe(&self.open))
                .unwrap_or_else(|_| Err(anyhow!("evcxr itself failed as it started")));
        }
        let Ok(context) = &mut self.context else {
            return;
        };
        for mut report in std::mem::take(&mut self.untold) {
            let told = catch_unwind(AssertUnwindSafe(|| context.execute(&report.code)));
            if matches!(told, Ok(Ok(_))) {
                continue;
            }
            report.failures += 1;
            if report.failures < ATTEMPTS {
                self.untold.push(report);
            } else {
                let code = report.code;
                tracing::warn!(%code, "evcxr does not take over what a cell has defined");
            }
        }
    }
}

/// Who decides what becomes of a question, the first to take it: evcxr, which begins with it, or who asked
/// and waits no longer.
#[derive(Clone, Default)]
struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether it is the caller who decides.
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// The kernel's end of the thread. It ends when this does.
pub struct Analyst {
    messages: Sender<Message>,
    is_open: Arc<AtomicBool>,
}

impl Analyst {
    /// Starts the thread. evcxr is opened when it is first needed, when [`Self::load`] says so, or
    /// after a moment.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(open: impl Fn() -> Result<CommandContext> + Send + 'static) -> Result<Self> {
        let (messages, received) = mpsc::channel();
        let is_open = Arc::new(AtomicBool::new(false));
        let opened = Arc::clone(&is_open);
        thread::Builder::new()
            .name("evcxr".to_owned())
            .spawn(move || serve(&received, &opened, Box::new(open)))
            .context("no thread for evcxr")?;
        Ok(Self { messages, is_open })
    }

    /// Whether evcxr answers at once, but for what it has been asked before.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::SeqCst)
    }

    /// The same, for another thread.
    pub fn opened(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_open)
    }

    /// Opens evcxr, unless that has been done.
    pub fn load(&self) {
        // A thread that is gone tells at the next question.
        let _ = self.messages.send(Message::Load);
    }

    /// Has evcxr complete this code at its end, for what it reads on the way. Does not wait.
    pub fn warm_up(&self, code: &'static str) {
        let task: Task = Box::new(|evcxr| {
            if let Ok(context) = &mut evcxr.context {
                let _ = catch_unwind(AssertUnwindSafe(|| context.completions(code, code.len())));
            }
        });
        let _ = self.messages.send(Message::Later(task));
    }

    /// Has evcxr do something, and waits for it.
    ///
    /// # Errors
    /// evcxr could not be opened.
    pub fn ask<T: Send + 'static>(
        &self,
        action: impl FnOnce(&mut CommandContext) -> T + Send + 'static,
    ) -> Result<T> {
        let claim = Claim::default();
        let answered = self.hand_over(action, claim.clone())?;
        answered.recv().context("evcxr has ended")?
    }

    /// The same; but what has not begun or has no answer after so long fails. What has not begun then never
    /// does: questions that nobody waits for any more would keep those that follow.
    fn ask_within<T: Send + 'static>(
        &self,
        patience: Patience,
        action: impl FnOnce(&mut CommandContext) -> T + Send + 'static,
    ) -> Result<T> {
        let claim = Claim::default();
        let answered = self.hand_over(action, claim.clone())?;
        let busy = "evcxr has something else to do";
        match answered.recv_timeout(patience.begin) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) if !claim.take() => answered
                .recv_timeout(patience.answer)
                .context("evcxr takes too long")?,
            Err(_) => Err(anyhow!(busy)),
        }
    }

    fn hand_over<T: Send + 'static>(
        &self,
        action: impl FnOnce(&mut CommandContext) -> T + Send + 'static,
        claim: Claim,
    ) -> Result<Receiver<Result<T>>> {
        let (answer, answered) = mpsc::channel();
        let task: Task = Box::new(move |evcxr| {
            if !claim.take() {
                return;
            }
            evcxr.open();
            let result = match &mut evcxr.context {
                Ok(context) => {
                    // A fault of evcxr must not end the kernel with all that the user has.
                    catch_unwind(AssertUnwindSafe(|| action(context)))
                        .map_err(|_| anyhow!("evcxr itself failed"))
                }
                Err(error) => Err(anyhow!("{error:#}")),
            };
            // Nobody waits for the answer of a kernel that ends.
            let _ = answer.send(result);
        });
        self.messages
            .send(Message::Do(task))
            .map_err(|_| anyhow!("evcxr has ended"))?;
        Ok(answered)
    }

    /// Tells evcxr what a cell has defined, and which variables are gone. Does not wait.
    pub fn tell(&self, cell: &Cell, before: &Program, after: &Program) {
        let Some(code) = report(cell, before, after) else {
            return;
        };
        let task: Task = Box::new(move |evcxr| {
            evcxr.untold.push(Report { code, failures: 0 });
            if evcxr.context.is_ok() {
                evcxr.open();
            }
        });
        let _ = self.messages.send(Message::Do(task));
    }
}

impl Analysis for Analyst {
    fn complete(&self, code: &str, cursor: usize) -> Completions {
        let text = code.to_owned();
        let found = self.ask_within(Patience::TYPING, move |context| {
            let mut found = completions(context.completions(&text, cursor)?);
            members::drop_private(&text, &mut found, |code| {
                let described = context.hover_at(code, code.len());
                described.ok().map(|(text, _)| text)
            });
            anyhow::Ok(found)
        });
        found
            .and_then(|found| found)
            .unwrap_or_else(|_| Completions::none(cursor))
    }

    fn inspect(&self, code: &str, cursor: usize, patience: Patience) -> Option<Bundle> {
        let end = members::end_of_name(code, cursor);
        let text = code.to_owned();
        let hover = self.ask_within(patience, move |context| context.hover_at(&text, end));
        let (text, html) = hover.ok()?.ok()?;
        let known = !text.starts_with("No documentation found");
        let html = documentation::without_hidden_lines(&html);
        known.then(|| Bundle::text(documentation::text(&html)).with("text/html", html))
    }
}

fn completions(found: evcxr::Completions) -> Completions {
    let matches = found.completions.into_iter().map(|item| Completion {
        text: item.code,
        kind: Some(item.kind.to_owned()),
        signature: Some(item.label),
    });
    Completions {
        matches: matches.collect(),
        start: found.start_offset,
        end: found.end_offset,
    }
}

fn serve(
    received: &Receiver<Message>,
    is_open: &AtomicBool,
    open: Box<dyn Fn() -> Result<CommandContext> + Send>,
) {
    if let Err(error) = unsafe_folder::separate() {
        tracing::warn!(%error, "evcxr shares its current folder with the kernel");
    }
    let Some(waiting) = wait(received) else {
        return;
    };
    let mut evcxr = Evcxr {
        open,
        context: Err(anyhow!("evcxr has not started")),
        untold: Vec::new(),
    };
    evcxr.open();
    is_open.store(true, Ordering::SeqCst);
    for message in waiting.into_iter().chain(received.iter()) {
        match message {
            Message::Do(task) | Message::Later(task) => task(&mut evcxr),
            Message::Load => {}
        }
    }
}

/// Waits for a reason to open evcxr, and gives the messages that came meanwhile; `None` when the
/// kernel ends.
fn wait(received: &Receiver<Message>) -> Option<Vec<Message>> {
    let deadline = Instant::now() + HEAD_START;
    let mut waiting = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match received.recv_timeout(left) {
            Ok(later @ Message::Later(_)) => waiting.push(later),
            Ok(message) => {
                waiting.push(message);
                return Some(waiting);
            }
            Err(RecvTimeoutError::Timeout) => return Some(waiting),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// The code that tells it; `None` when there is nothing to tell.
fn report(cell: &Cell, before: &Program, after: &Program) -> Option<String> {
    let mut code = format!("{HAS_RUN}\n");
    // Of a crate that comes with the compiler it takes another from the registry, and then none works.
    for item in cell.items.iter().filter(|item| !item.is_extern_crate()) {
        if item.is_impl() {
            code.push_str(&handle(item));
        }
        code.push_str(&item.exported());
        code.push('\n');
    }
    code.push_str(&renewed(cell, before, after));
    let after_impls: Vec<&str> = impls(after).map(|item| item.text.as_str()).collect();
    let replaced = impls(before).filter(|item| !after_impls.contains(&item.text.as_str()));
    code.extend(replaced.map(handle));
    // Values of cells are not worth a compile after every cell.
    let named = |(name, _): &(&String, &Variable)| !direct::is_result(name);
    for (name, variable) in after.variables.iter().filter(named) {
        let is_new = cell.variables.iter().any(|binding| binding.name == *name);
        if is_new || before.variables.get(name) != Some(variable) {
            let mutable = if variable.mutable { "mut " } else { "" };
            let _ = writeln!(
                code,
                "let {mutable}{name}: {} = ::warmcell::cell::variables::elsewhere();",
                variable.type_name
            );
        }
    }
    let gone = |name: &&String| !after.variables.contains_key(*name) && !direct::is_result(name);
    for name in before.variables.keys().filter(gone) {
        let _ = writeln!(
            code,
            "let {name}: ::warmcell::cell::variables::Gone = ::warmcell::cell::variables::elsewhere();"
        );
    }
    (code.lines().count() > 1).then_some(code)
}

/// Definitions whose statics have begun anew.
fn renewed(cell: &Cell, before: &Program, after: &Program) -> String {
    let told = cell.items.iter().filter_map(|item| item.statics.as_ref());
    let known = before.items.with_statics().map(|(_, statics)| statics);
    let known: Vec<_> = told.chain(known).collect();
    let mut code = String::new();
    for (item, statics) in after.items.with_statics() {
        if known.iter().all(|known| !known.are(statics)) {
            if item.is_impl() {
                code.push_str(&handle(item));
            }
            code.push_str(&item.exported());
            code.push('\n');
        }
    }
    code
}

/// evcxr replaces what has a name, and what stands behind it: an implementation gets one, and without
/// the implementation the name is what is left of it.
fn handle(item: &Item) -> String {
    let mut hash = DefaultHasher::new();
    item.text.hash(&mut hash);
    format!("const __WARMCELL_IMPL_{:x}: () = ();\n", hash.finish())
}

fn impls(program: &Program) -> impl Iterator<Item = &Item> {
    program
        .items
        .all()
        .into_iter()
        .filter(|item| item.is_impl())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_implementation_is_replaced_by_its_handle() {
        let old = Cell::parse("struct P; impl P { fn a() {} }");
        let new = Cell::parse("impl P { fn a() { 1; } }");
        let mut before = Program::default();
        before.items.define(&old.items);
        let mut after = before.clone();
        after.items.define(&new.items);
        let first = report(&old, &Program::default(), &before).unwrap_or_default();
        let handle = handle(&old.items[1]);
        assert!(
            first.contains(&format!("{handle}impl P {{ fn a() {{}} }}")),
            "{first}"
        );
        let second = report(&new, &before, &after).unwrap_or_default();
        assert!(second.ends_with(&handle), "{second}");
        assert!(
            second.contains("fn a() { 1; }") && !second.contains("fn a() {}"),
            "{second}"
        );
    }

    #[test]
    fn a_static_is_told_by_its_symbol_and_again_when_it_begins_anew() {
        let cell = Cell::parse("static A: u8 = 1;");
        let mut before = Program::default();
        before.items.define(&cell.items);
        let first = report(&cell, &Program::default(), &before).unwrap_or_default();
        assert!(first.contains("export_name"), "{first}");
        assert_eq!(first.matches("static A").count(), 1, "{first}");
        let mut after = before.clone();
        after.items.renew(&["A".to_owned()]);
        let again = report(&Cell::default(), &before, &after).unwrap_or_default();
        assert!(
            again.contains("static A: u8 = 1;") && again != first,
            "{again}"
        );
        assert_eq!(report(&Cell::default(), &after, &after), None);
        let own = Cell::parse("extern crate alloc;");
        assert_eq!(report(&own, &after, &after), None);
    }
}
