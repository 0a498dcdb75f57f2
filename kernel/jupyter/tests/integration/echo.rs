//! A toy language that proves the boundary: each line of a cell is a command, anything else is its
//! own value. Shared by the tests and by `examples/echo_kernel.rs`; no protocol here.

#![expect(clippy::unwrap_used, reason = "a poisoned lock here is a failed test")]

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use jupyter::{
    Afterwards, Cell, CellError, Comm, Completeness, Completion, Completions, Control, KernelInfo,
    Language, LanguageInfo, Outcome, Publisher, Stream,
};
use serde_json::json;
use wire::mime::Bundle;

const COMMANDS: [&str; 17] = [
    "ask", "bulk", "clear", "comm", "eprint", "fail", "flood", "later", "panic", "password",
    "print", "save", "show", "sleep", "stubborn", "update", "write",
];

/// The half that runs cells.
pub struct Echo {
    stop: Arc<Stop>,
}

/// The half that answers at any time.
#[derive(Default)]
pub struct EchoControl {
    stop: Arc<Stop>,
}

/// Whether the running cell shall end.
#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl EchoControl {
    /// The other half.
    pub fn language(&self) -> Echo {
        Echo {
            stop: Arc::clone(&self.stop),
        }
    }
}

impl Stop {
    fn set(&self, asked: bool) {
        *self.asked.lock().unwrap() = asked;
        self.changed.notify_all();
    }

    /// Whether it was asked for within `time`.
    fn within(&self, time: Duration) -> bool {
        let asked = self.asked.lock().unwrap();
        *self
            .changed
            .wait_timeout_while(asked, time, |asked| !*asked)
            .unwrap()
            .0
    }
}

fn error(ename: &str, evalue: &str) -> CellError {
    CellError {
        ename: ename.to_owned(),
        evalue: evalue.to_owned(),
        traceback: vec![format!("\u{1b}[31m{ename}\u{1b}[0m: {evalue}")],
    }
}

impl Language for Echo {
    fn execute(&mut self, cell: &Cell, out: &Publisher) -> Outcome {
        self.stop.set(false);
        for line in cell.code.lines() {
            let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
            if let Err(error) = self.command(command, rest, line, out) {
                return Outcome::Error(error);
            }
        }
        Outcome::Ok
    }

    fn evaluate(&mut self, expression: &str) -> Result<Bundle, CellError> {
        if expression.starts_with("fail") {
            return Err(error("EchoError", expression));
        }
        Ok(Bundle::text(expression))
    }

    fn attend(&mut self, out: &Publisher) {
        self.stop.set(false);
        self.stop.within(Duration::from_millis(300));
        out.display(Bundle::text("attended"), None);
    }
}

impl Echo {
    fn command(
        &mut self,
        command: &str,
        rest: &str,
        line: &str,
        out: &Publisher,
    ) -> Result<(), CellError> {
        match command {
            "print" => out.stream(Stream::Stdout, &format!("{rest}\n")),
            "write" => out.stream(Stream::Stdout, rest),
            "eprint" => out.stream(Stream::Stderr, &format!("{rest}\n")),
            "flood" => {
                for i in 0..number(rest) {
                    out.stream(Stream::Stdout, &format!("{i}\n"));
                }
            }
            "bulk" => {
                for _ in 0..number(rest) {
                    out.stream(Stream::Stdout, &"x".repeat(1024 * 1024));
                }
            }
            "show" => out.display(
                Bundle::text(rest).with("text/html", format!("<b>{rest}</b>")),
                None,
            ),
            "save" => out.display(Bundle::text(rest), Some("saved")),
            "update" => out.update_display(Bundle::text(rest), "saved"),
            "clear" => out.clear_output(true),
            "ask" | "password" => {
                let answer = out.input(rest, command == "password");
                let answer = answer.map_err(|e| error("InputError", &e.to_string()))?;
                out.stream(Stream::Stdout, &format!("got {answer}\n"));
            }
            "sleep" => {
                if self.stop.within(Duration::from_millis(number(rest))) {
                    return Err(error("KeyboardInterrupt", "interrupted"));
                }
            }
            // Does not listen to an interrupt.
            "stubborn" => thread::sleep(Duration::from_millis(number(rest))),
            "later" => {
                let out = out.clone();
                let text = rest.to_owned();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(300));
                    out.stream(Stream::Stdout, &format!("{text}\n"));
                });
            }
            "comm" => {
                let id = format!("comm-{rest}");
                out.comm_open(
                    Comm {
                        id,
                        ..Comm::default()
                    },
                    rest,
                );
            }
            "fail" => return Err(error("EchoError", rest)),
            "panic" => panic!("{rest}"),
            "" => {}
            _ => out.result(Bundle::text(line)),
        }
        Ok(())
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

impl Control for EchoControl {
    fn info(&self) -> KernelInfo {
        KernelInfo {
            implementation: "echo".to_owned(),
            implementation_version: "1.0".to_owned(),
            language: LanguageInfo {
                name: "echo".to_owned(),
                version: "1.0".to_owned(),
                mimetype: "text/plain".to_owned(),
                file_extension: ".echo".to_owned(),
                pygments_lexer: None,
                codemirror_mode: None,
            },
            banner: "Echo".to_owned(),
            help_links: vec![("Echo".to_owned(), "https://example.org".to_owned())],
        }
    }

    fn is_complete(&self, code: &str) -> Completeness {
        if code.ends_with('\\') {
            Completeness::Incomplete {
                indent: "  ".to_owned(),
            }
        } else if code.contains('\0') {
            Completeness::Invalid
        } else {
            Completeness::Complete
        }
    }

    fn complete(&self, code: &str, cursor: usize) -> Completions {
        let start = code[..cursor]
            .rfind(|c: char| !c.is_alphabetic())
            .map_or(0, |at| {
                at + code[at..].chars().next().map_or(0, char::len_utf8)
            });
        let word = &code[start..cursor];
        if word == "slow" {
            thread::sleep(Duration::from_secs(2));
        }
        assert_ne!(word, "fault", "an analysis that fails");
        let matches = COMMANDS
            .iter()
            .filter(|name| !word.is_empty() && name.starts_with(word));
        let matches = matches.map(|name| Completion {
            text: (*name).to_owned(),
            kind: Some("command".to_owned()),
            signature: None,
        });
        Completions {
            matches: matches.collect(),
            start,
            end: cursor,
        }
    }

    fn inspect(&self, code: &str, cursor: usize, detail: u8) -> Option<Bundle> {
        let word = code[..cursor].split_whitespace().next_back()?;
        COMMANDS
            .contains(&word)
            .then(|| Bundle::text(format!("{word}: a command ({detail})")))
    }

    fn interrupt(&self) {
        self.stop.set(true);
    }

    fn shutdown(&self, _restart: bool) {
        self.stop.set(true);
    }

    fn comm_open(&self, _comm: &Comm, target: &str, _out: &Publisher) -> bool {
        target == "echo"
    }

    fn comm_msg(&self, comm: &Comm, out: &Publisher) -> Afterwards {
        if comm.data.contains_key("later") {
            return Afterwards::Attend;
        }
        let mut answer = comm.clone();
        answer.data.insert("echoed".to_owned(), json!(true));
        out.comm_msg(answer);
        Afterwards::Nothing
    }
}
