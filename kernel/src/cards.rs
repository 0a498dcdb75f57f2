//! The graphics cards, as `doctor` and `%gpu` show them: those that NVIDIA's driver gives this process, which the
//! engine asks, with what `nvidia-smi` knows besides and of cards that others have.

use std::{
    io,
    process::{Command, Stdio},
};

use display::units;
use engine::cuda::{self, Card, Driver};
use wire::{Failure, FailureKind};

/// A card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// `cuda:0`; `None` of a card that this process may not use.
    pub device: Option<String>,
    /// Its name.
    pub name: String,
    /// Compute capability; `None` where the driver does not give it to this process.
    pub capability: Option<String>,
    /// Memory in use, free and in all, as shown.
    pub memory: [Option<String>; 3],
    /// Share of the time in which it computes, and its temperature, as shown.
    pub busy: Option<String>,
    /// As `busy`.
    pub temperature: Option<String>,
    /// Version of the driver.
    pub driver: Option<String>,
}

/// What is asked of `nvidia-smi`, in order.
const FIELDS: &str =
    "uuid,name,memory.used,memory.free,memory.total,utilization.gpu,temperature.gpu,driver_version";

/// All cards, those of this process first. Fails where there is neither driver nor program, or it fails.
pub fn list() -> Result<Vec<Listed>, Failure> {
    join(cuda::driver(), ask())
}

/// What this program was built with, in words.
pub fn built() -> String {
    match cuda::build() {
        Some(build) => format!("built with the feature `cuda` ({build})"),
        None => "built without the feature `cuda`".to_owned(),
    }
}

fn join(
    driver: Result<&Driver, Failure>,
    said: Result<Option<String>, Failure>,
) -> Result<Vec<Listed>, Failure> {
    let said = match (&driver, said) {
        // What the driver gives is told without what the program would add.
        (Ok(_), Err(_)) => None,
        (_, said) => said?,
    };
    if let (Err(failure), None) = (&driver, &said) {
        return Err(failure.clone());
    }
    let lines = said.as_deref().unwrap_or_default().lines();
    let mut others: Vec<(String, Listed)> = lines.filter_map(read).collect();
    let cards = driver.map_or(&[][..], |driver| &driver.cards);
    let mut listed: Vec<Listed> = Vec::with_capacity(cards.len() + others.len());
    for (number, card) in cards.iter().enumerate() {
        let at = others.iter().position(|(uuid, _)| *uuid == card.uuid);
        let known = at.map(|at| others.remove(at).1).unwrap_or_default();
        listed.push(of_process(number, card, known));
    }
    listed.extend(others.into_iter().map(|(_, card)| card));
    Ok(listed)
}

fn of_process(number: usize, card: &Card, known: Listed) -> Listed {
    let [used, free, total] = known.memory;
    Listed {
        device: Some(format!("cuda:{number}")),
        name: card.name.clone(),
        capability: Some(card.capability.to_string()),
        memory: [used, free, total.or_else(|| Some(units::bytes(card.bytes)))],
        ..known
    }
}

/// What `nvidia-smi` prints; `None` where it is not there.
fn ask() -> Result<Option<String>, Failure> {
    let failed =
        |message: String, hint: &str| Err(Failure::new(FailureKind::Device, message).hint(hint));
    let output = Command::new("nvidia-smi")
        .arg(format!("--query-gpu={FIELDS}"))
        .arg("--format=csv,noheader,nounits")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
        }
        // It prints its errors to standard output.
        Ok(output) => failed(
            format!(
                "`nvidia-smi` fails: {}",
                String::from_utf8_lossy(&output.stdout).trim()
            ),
            "the driver and its kernel module may be of different versions: restart the machine",
        ),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => failed(
            format!("`nvidia-smi` cannot be started: {reason}"),
            "run it in a terminal",
        ),
    }
}

/// A line of the answer, with its `uuid`; what the driver does not know is in brackets.
fn read(line: &str) -> Option<(String, Listed)> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [uuid, name, used, free, total, busy, temperature, driver] = fields.try_into().ok()?;
    let mebibytes = |text: &str| {
        let number: u64 = text.parse().ok()?;
        Some(units::bytes(number << 20))
    };
    let with_unit = |text: &str, unit: &str| {
        let number: f64 = text.parse().ok()?;
        Some(format!("{number} {unit}"))
    };
    let card = Listed {
        name: name.to_owned(),
        memory: [used, free, total].map(mebibytes),
        busy: with_unit(busy, "%"),
        temperature: with_unit(temperature, "°C"),
        driver: Some(driver.to_owned()),
        ..Listed::default()
    };
    Some((uuid.to_owned(), card))
}

#[cfg(test)]
mod tests {
    use engine::cuda::Version;

    use super::*;

    const SAID: &str = "\
GPU-aa, NVIDIA H100 80GB HBM3, 1024, 80535, 81559, 7, 33, 580.65.06
GPU-bb, NVIDIA L4, [N/A], [N/A], [N/A], [N/A], 40, 580.65.06
";

    fn driver() -> Driver {
        let card = Card {
            name: "NVIDIA L4".to_owned(),
            uuid: "GPU-bb".to_owned(),
            capability: Version(8, 9),
            bytes: 24_000_000_000,
        };
        Driver {
            cuda: Version(13, 0),
            cards: vec![card],
        }
    }

    fn absent() -> Failure {
        Failure::new(FailureKind::Device, "absent")
    }

    #[test]
    fn the_cards_of_this_process_come_first_by_its_numbers() {
        let listed = join(Ok(&driver()), Ok(Some(SAID.to_owned()))).expect("are there");
        let [l4, h100] = listed.try_into().expect("two");
        assert_eq!(
            (l4.device.as_deref(), l4.capability.as_deref()),
            (Some("cuda:0"), Some("8.9"))
        );
        // What is not known of its memory stays so; how much there is, the driver says.
        assert_eq!(l4.memory, [None, None, Some("24.0 GB".to_owned())]);
        assert_eq!((l4.busy, l4.temperature.as_deref()), (None, Some("40 °C")));
        assert_eq!((h100.device, h100.capability), (None, None));
        let memory = ["1.1 GB", "84.4 GB", "85.5 GB"].map(|text| Some(text.to_owned()));
        assert_eq!(h100.memory, memory);
        assert_eq!(h100.driver.as_deref(), Some("580.65.06"));
    }

    #[test]
    fn either_of_both_is_enough() {
        let alone = join(Ok(&driver()), Ok(None)).expect("the driver is there");
        assert_eq!(alone.len(), 1);
        assert_eq!(join(Ok(&driver()), Err(absent())), Ok(alone));
        let said = join(Err(absent()), Ok(Some(SAID.to_owned()))).expect("the program is there");
        assert_eq!(said.len(), 2);
        assert_eq!(join(Err(absent()), Ok(None)), Err(absent()));
        assert_eq!(
            join(
                Err(absent()),
                Ok(Some("No devices were found\n".to_owned()))
            ),
            Ok(vec![])
        );
    }
}
