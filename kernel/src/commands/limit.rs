//! `%limit`: what the cells may use.

use std::path::Path;

use display::units;
use jupyter::CellError;

use super::{Call, Command, Commands, Form, error, language::say};
use crate::evaluate::control::Control;

pub(super) const COMMAND: Command = Command {
    name: "limit",
    form: Form::Line,
    arguments: "[memory SIZE|off]",
    summary: "limits the memory of the cells",
    details: "`%limit` shows the limit. A cell whose processes take more than SIZE together is ended: \
the variables go back to those from before it, and kernel and models stay. Counted is what the cells' \
process and its sleeping snapshot hold, memory that they share only once. The models' memory is not \
counted: it belongs to the model host.

    %limit memory 4G

SIZE is a number with K, M, G or T (1024 each), or with kB, MB, GB, TB (1000 each).",
    run,
    complete: |_, before| match before {
        [] => vec!["memory".to_owned()],
        ["memory"] => vec!["off".to_owned()],
        _ => Vec::new(),
    },
};

/// A notebook's process itself takes some tens of megabytes.
const LEAST: u64 = 64 << 20;

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    let words: Vec<&str> = call.arguments.split_whitespace().collect();
    match words[..] {
        [] => {}
        ["memory"] => return Err(error::usage(call.command, "how much memory?")),
        ["memory", "off"] => commands.limit.set(None),
        ["memory", size] => {
            let bytes = size_of(size).map_err(|why| error::usage(call.command, why))?;
            commands.limit.set(Some(bytes));
        }
        _ => return Err(error::usage(call.command, "only `memory` can be limited")),
    }
    let taken = match commands.notebook.ready() {
        Some(_) => Some(commands.limit.tell(&commands.place.session_dir)?),
        None => None,
    };
    say(call.out, &commands.limit.describe(taken));
    Ok(())
}

/// `4G`, `512M`, `1.5GB` in bytes.
fn size_of(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_uppercase().as_str() {
        "K" | "KIB" => 1 << 10,
        "M" | "MIB" => 1 << 20,
        "G" | "GIB" => 1 << 30,
        "T" | "TIB" => 1 << 40,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "" => return Err(format!("`{text}` needs a unit, such as `{text}G`")),
        _ => return Err(format!("`{text}` is no size")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no size"))?;
    let bytes = (number * factor as f64) as u64;
    if bytes < LEAST {
        return Err(format!(
            "`{text}` is less than an empty notebook takes (64M)"
        ));
    }
    Ok(bytes)
}

/// The limit that was asked for, which the runner hears of once it is up.
#[derive(Default)]
pub struct Limit {
    memory: Option<u64>,
    is_applied: bool,
    was_set: bool,
}

impl Limit {
    fn set(&mut self, memory: Option<u64>) {
        self.memory = memory;
        self.was_set = true;
        self.is_applied = false;
    }

    /// Tells the runner, unless it knows.
    ///
    /// # Errors
    /// As of [`Self::tell`].
    pub fn apply(&mut self, session: &Path) -> Result<(), CellError> {
        if self.is_applied || !self.was_set {
            return Ok(());
        }
        self.tell(session).map(drop)
    }

    /// Tells the runner, and gives the bytes that the cells take now.
    ///
    /// # Errors
    /// The runner cannot be told, or the cells take more already.
    fn tell(&mut self, session: &Path) -> Result<u64, CellError> {
        let told = Control::connect(session)
            .and_then(|mut control| control.set_memory_limit(self.memory))
            .map_err(|reason| {
                let evalue = format!("the memory limit cannot be set: {reason}");
                error::failed(
                    "LimitError",
                    evalue,
                    "`%limit memory off` runs cells without one",
                )
            })?;
        let taken = told.total();
        if let Some(bytes) = self.memory.take_if(|bytes| *bytes < taken) {
            return Err(error::failed(
                "LimitError",
                format!(
                    "the cells take {} already, more than {}: the limit is not set",
                    units::bytes(taken),
                    units::bytes(bytes)
                ),
                "let variables go, or set a higher limit",
            ));
        }
        self.is_applied = true;
        Ok(taken)
    }

    /// The runner is another one.
    pub fn forget_applied(&mut self) {
        self.is_applied = false;
    }

    fn describe(&self, taken: Option<u64>) -> String {
        let limit = match self.memory {
            Some(bytes) => format!("at most {}", units::bytes(bytes)),
            None => "no limit".to_owned(),
        };
        let taken = taken.map_or_else(String::new, |taken| {
            format!(" · {} now, the snapshot included", units::bytes(taken))
        });
        format!("memory of the cells: {limit}{taken}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(size_of("4G"), Ok(4 << 30));
        assert_eq!(size_of("512m"), Ok(512 << 20));
        assert_eq!(size_of("1.5GB"), Ok(1_500_000_000));
        for wrong in ["4", "G", "4X", "1K", "-4G", "four", "4..G"] {
            assert!(size_of(wrong).is_err(), "{wrong}");
        }
    }
}
