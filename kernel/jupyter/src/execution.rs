//! The execution thread: makes the language, then takes work from the queue, one piece after the
//! other, and sees to the messages that go with each.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jupyter_protocol::messaging::{
    ExecuteInput, ExecuteRequest, ExecutionCount, JupyterMessageContent,
};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use wire::mime::Bundle;

use crate::language::{Cell, CellError, Language, Outcome};
use crate::message::{Parent, json_content};
use crate::publisher::Publisher;
use crate::queue::Work;
use crate::session::Session;

/// A language's analysis of a cell may recurse deeply.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// How long an error waits for cells that were sent together with the failed one, and are still on
/// their way. The reply waits too, so that none is caught that was sent in knowledge of the error.
const ERROR_GRACE: Duration = Duration::from_millis(10);

/// Starts the thread. The receiver tells when it has ended and the language is dropped.
pub(crate) fn start<L>(
    session: Arc<Session>,
    runtime: Handle,
    language: L,
) -> io::Result<oneshot::Receiver<()>>
where
    L: FnOnce(Publisher) -> Result<Box<dyn Language>, CellError> + Send + 'static,
{
    let (ended, end) = oneshot::channel();
    thread::Builder::new()
        .name("execution".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let publisher = Publisher::new(Arc::clone(&session), None);
            let made = catch_unwind(AssertUnwindSafe(|| language(publisher.clone())));
            let language = made
                .unwrap_or_else(|_| Err(panicked("starting")))
                .unwrap_or_else(|error| Box::new(Broken(error)));
            Worker {
                session,
                runtime,
                publisher,
                language,
            }
            .run();
            let _ = ended.send(());
        })?;
    Ok(end)
}

struct Worker {
    session: Arc<Session>,
    runtime: Handle,
    publisher: Publisher,
    language: Box<dyn Language>,
}

impl Worker {
    fn run(mut self) {
        if self.session.queue.is_empty() {
            // A fault here shows again in the cell that needs what was to be prepared.
            let _ = catch_unwind(AssertUnwindSafe(|| self.language.warm_up()));
        }
        while let Some(work) = self.session.queue.pop() {
            match work {
                Work::Execute(parent, request) => self.execute(&parent, &request),
                Work::Attend(parent) => self.attend(&parent),
            }
        }
    }

    fn execute(&mut self, parent: &Parent, request: &ExecuteRequest) {
        let cell = self.session.begin_cell(parent, request);
        self.session.control.cell_begins();
        self.session.iopub.busy_with(parent);
        if !cell.silent {
            let code = cell.code.clone();
            let execution_count = ExecutionCount::new(cell.count as usize);
            self.session.iopub.publish_for(
                ExecuteInput {
                    code,
                    execution_count,
                },
                Some(parent),
            );
        }
        if cell.store_history {
            self.session.history.append(cell.count, &cell.code);
        }
        self.session.stdin.open(cell.allow_stdin);
        let outcome = self.guarded("running a cell", |language, out| {
            language.execute(&cell, out)
        });
        let outcome = outcome.unwrap_or_else(Outcome::Error);
        self.session.control.cell_ended();
        let content = self.reply_content(&cell, &outcome, request);
        self.session.stdin.close();

        let mut aborted = Vec::new();
        if let Outcome::Error(error) = &outcome {
            self.publisher.error(error);
            if request.stop_on_error {
                thread::sleep(ERROR_GRACE);
                aborted = self.session.queue.take_cells();
            }
        }
        self.answer(json_content("execute_reply", content), parent);
        for parent in aborted {
            self.runtime.block_on(self.session.abort(&parent));
        }
    }

    fn reply_content(&mut self, cell: &Cell, outcome: &Outcome, request: &ExecuteRequest) -> Value {
        let count = cell.count;
        match outcome {
            Outcome::Ok => {
                let values = self.user_expressions(request);
                json!({
                    "status": "ok", "execution_count": count, "user_expressions": values,
                    "payload": [],
                })
            }
            Outcome::Error(error) => {
                let mut content = error_content(error);
                content["execution_count"] = count.into();
                content["user_expressions"] = json!({});
                content["payload"] = json!([]);
                content
            }
        }
    }

    fn user_expressions(&mut self, request: &ExecuteRequest) -> Map<String, Value> {
        let mut values = Map::new();
        for (name, expression) in request.user_expressions.iter().flatten() {
            let value = self.guarded("evaluating", |language, _| language.evaluate(expression));
            let value = match value.and_then(|value| value) {
                Ok(Bundle { data, metadata }) => {
                    json!({ "status": "ok", "data": data, "metadata": metadata })
                }
                Err(error) => error_content(&error),
            };
            values.insert(name.clone(), value);
        }
        values
    }

    fn attend(&mut self, parent: &Parent) {
        self.session.iopub.busy_with(parent);
        let out = Publisher::new(Arc::clone(&self.session), Some(Arc::clone(parent)));
        self.session.control.cell_begins();
        let attended = self.guarded("answering a widget", |language, _| language.attend(&out));
        self.session.control.cell_ended();
        // It has no reply in which a failure could stand.
        if let Err(error) = attended {
            out.error(&error);
        }
        self.session.iopub.idle(parent);
    }

    fn answer(&self, content: JupyterMessageContent, parent: &Parent) {
        self.runtime
            .block_on(self.session.shell.send(content, parent));
        self.session.iopub.idle(parent);
    }

    /// Calls the language. A panic of its own (not of a cell) must not end the thread.
    fn guarded<T>(
        &mut self,
        doing: &str,
        call: impl FnOnce(&mut dyn Language, &Publisher) -> T,
    ) -> Result<T, CellError> {
        let Self {
            language,
            publisher,
            ..
        } = self;
        catch_unwind(AssertUnwindSafe(|| call(language.as_mut(), publisher)))
            .map_err(|_| panicked(doing))
    }
}

fn error_content(error: &CellError) -> Value {
    let CellError {
        ename,
        evalue,
        traceback,
    } = error;
    json!({ "status": "error", "ename": ename, "evalue": evalue, "traceback": traceback })
}

fn panicked(doing: &str) -> CellError {
    let evalue = format!("the kernel failed while {doing}; its log says where");
    CellError {
        ename: "KernelError".to_owned(),
        traceback: vec![format!("KernelError: {evalue}")],
        evalue,
    }
}

/// Stands for a language that could not be started: each cell says why.
struct Broken(CellError);

impl Language for Broken {
    fn execute(&mut self, _cell: &Cell, _out: &Publisher) -> Outcome {
        Outcome::Error(self.0.clone())
    }

    fn evaluate(&mut self, _expression: &str) -> Result<Bundle, CellError> {
        Err(self.0.clone())
    }
}
