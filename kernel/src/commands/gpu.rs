//! `%gpu`: the graphics cards, as their driver sees them.

use std::{
    io,
    process::{Command as Process, Stdio},
};

use display::{RichDisplay, Table, units};
use jupyter::CellError;

use super::{Call, Command, Commands, Form, error, nothing};

pub(super) const COMMAND: Command = Command {
    name: "gpu",
    form: Form::Line,
    arguments: "",
    summary: "shows the graphics cards: memory, utilisation, driver",
    details: "What `nvidia-smi` says, which comes with NVIDIA's driver. Which models take the memory \
`%models` says.",
    run,
    complete: nothing,
};

/// What is asked of the driver, in order.
const FIELDS: &str =
    "index,name,memory.used,memory.total,utilization.gpu,temperature.gpu,driver_version";

fn run(_: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        return Err(error::usage(call.command, "it takes no arguments"));
    }
    let output = Process::new("nvidia-smi")
        .args([
            format!("--query-gpu={FIELDS}"),
            "--format=csv,noheader,nounits".to_owned(),
        ])
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => {
            return Err(error::failed(
                "NotFound",
                "there is no NVIDIA driver here: `nvidia-smi` is not found",
                "models run on the CPU; `%models` says what they take",
            ));
        }
        Err(reason) => {
            let evalue = format!("`nvidia-smi` cannot be started: {reason}");
            return Err(error::failed("GpuError", evalue, "run it in a terminal"));
        }
    };
    if !output.status.success() {
        // It prints its errors to standard output.
        let said = String::from_utf8_lossy(&output.stdout);
        let evalue = format!("`nvidia-smi` fails: {}", said.trim());
        let hint =
            "the driver and its kernel module may be of different versions: restart the machine";
        return Err(error::failed("GpuError", evalue, hint));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let table = Table {
        caption: String::new(),
        header: vec!["card", "name", "memory", "busy", "temperature", "driver"],
        rows: said.lines().filter_map(row).collect(),
    };
    call.out.display(table.bundle(), None);
    Ok(())
}

/// A line of the answer; what the driver does not know stands as it says.
fn row(line: &str) -> Option<Vec<String>> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [card, name, used, total, busy, temperature, driver] = fields.try_into().ok()?;
    let mebibytes = |text: &str| {
        let bytes = text.parse::<u64>().ok().map(|number| number << 20);
        bytes.map_or_else(|| text.to_owned(), units::bytes)
    };
    let with_unit = |text: &str, unit: &str| {
        if text.parse::<f64>().is_ok() {
            format!("{text} {unit}")
        } else {
            text.to_owned()
        }
    };
    Some(vec![
        card.to_owned(),
        name.to_owned(),
        format!("{} of {}", mebibytes(used), mebibytes(total)),
        with_unit(busy, "%"),
        with_unit(temperature, "°C"),
        driver.to_owned(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_lines_are_read() {
        let line = "0, NVIDIA H100 80GB HBM3, 1024, 81559, 7, 33, 580.65.06";
        let row = row(line).expect("is a card");
        assert_eq!(row[1], "NVIDIA H100 80GB HBM3");
        assert!(
            row[2].starts_with("1.07 GB of 85.5 GB") || row[2].contains(" of "),
            "{}",
            row[2]
        );
        assert_eq!((row[3].as_str(), row[4].as_str()), ("7 %", "33 °C"));
    }

    #[test]
    fn what_a_driver_does_not_know_stays() {
        let row = row("1, Card, [N/A], [N/A], [N/A], 40, 535.1").expect("is a card");
        assert_eq!(row[2], "[N/A] of [N/A]");
        assert_eq!(row[3], "[N/A]");
        assert!(super::row("no devices were found").is_none());
    }
}
