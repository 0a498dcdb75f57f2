//! `%gpu`: the graphics cards, and whether this program computes on them.

use display::{RichDisplay, Table};
use engine::cuda;
use jupyter::CellError;

use super::{Call, Command, Commands, Form, error, language::say, nothing};
use crate::cards::{self, Listed};

pub(super) const COMMAND: Command = Command {
    name: "gpu",
    form: Form::Line,
    arguments: "",
    summary: "shows the graphics cards: memory, utilisation, driver",
    details: "What NVIDIA's driver and `nvidia-smi` say, and what this program was built for. Which \
models take the memory `%models` says.",
    run,
    complete: nothing,
};

fn run(_: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        return Err(error::usage(call.command, "it takes no arguments"));
    }
    let listed = match cards::list() {
        Ok(listed) => listed,
        Err(failure) => {
            let what = format!("{}; {}", failure.message, cards::built());
            let hint = failure.hint.unwrap_or_default();
            let hint = format!("models run on the CPU; {hint}");
            if !cuda::lacks_driver() {
                return Err(error::failed("DeviceError", what, hint));
            }
            // That there is none is an answer.
            say(call.out, &format!("{what}\nhint: {hint}"));
            return Ok(());
        }
    };
    let table = Table {
        caption: caption(),
        header: vec![
            "device",
            "name",
            "compute capability",
            "memory used",
            "free",
            "in all",
            "busy",
            "temperature",
            "driver",
        ],
        rows: listed.into_iter().map(row).collect(),
    };
    call.out.display(table.bundle(), None);
    Ok(())
}

/// What this program does with them.
fn caption() -> String {
    match cuda::usable(0) {
        Ok(()) => format!("Warmcell is {}.", cards::built()),
        Err(failure) => {
            let hint = failure.hint.unwrap_or_default();
            format!("Models run on the CPU: {}. {hint}.", failure.message)
        }
    }
}

fn row(card: Listed) -> Vec<String> {
    let [used, free, total] = card.memory;
    let device = card.device.unwrap_or_else(|| "not ours".to_owned());
    let facts = [
        card.capability,
        used,
        free,
        total,
        card.busy,
        card.temperature,
        card.driver,
    ];
    let facts = facts.map(|fact| fact.unwrap_or_else(|| "unknown".to_owned()));
    [device, card.name].into_iter().chain(facts).collect()
}
