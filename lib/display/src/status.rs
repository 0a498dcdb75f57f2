//! What the model host holds, as a table, and what it has let go.

use std::fmt::Write;

use serde::Serialize;
use wire::{
    host::HostStatus,
    mime::Bundle,
    model::{Device, ModelInfo, Resident},
};

use crate::{RichDisplay, Table, html, rendered, units};

const HEADER: [&str; 8] = [
    "model", "weights", "device", "bytes", "cache", "age", "idle", "users",
];

/// A model in memory, in a line.
pub fn resident_line(resident: &Resident) -> String {
    let info = &resident.info;
    let mut line = format!(
        "{} · {} · {} · {}",
        info.name,
        info.quantization,
        info.device,
        model_bytes(info, units::bytes)
    );
    if resident.cache_bytes > 0 {
        let cache = units::bytes(resident.cache_bytes);
        let _ = write!(line, " · {cache} of cache");
    }
    let _ = write!(line, " · {} old", units::seconds(resident.age_seconds));
    let _ = match resident.users {
        0 => write!(
            line,
            " · idle for {}",
            units::seconds(resident.idle_seconds)
        ),
        users => write!(line, " · {}", units::plural(users as usize, "user")),
    };
    if resident.pinned {
        line.push_str(" · pinned");
    }
    line
}

/// Bytes of a model, as `shown`: in all, or of each device where they are not all in main memory.
pub fn model_bytes(info: &ModelInfo, shown: fn(u64) -> String) -> String {
    let is_on_card = |(device, _): &(Device, u64)| *device != Device::Cpu;
    if !info.device_bytes.iter().any(is_on_card) {
        return shown(info.bytes);
    }
    let parts = info.device_bytes.iter().filter(|(_, bytes)| *bytes > 0);
    let parts = parts.map(|(device, bytes)| format!("{} on {device}", shown(*bytes)));
    parts.collect::<Vec<_>>().join(", ")
}

impl RichDisplay for HostStatus {
    fn bundle(&self) -> Bundle {
        let summary = summary(self);
        let rows: Vec<Vec<String>> = self.models.iter().map(row).collect();
        if rows.is_empty() {
            return rendered(
                summary.clone(),
                format!("<p>{}</p>", html::escape(&summary)),
            );
        }
        let table = Table {
            caption: summary,
            header: HEADER.to_vec(),
            rows,
        };
        explained(&table.bundle())
    }
}

/// What the words of a list of models mean.
pub const MODELS_LEGEND: &str = "users: requests that run or wait now, not notebooks that hold the model; \
cache: keys and values that are kept for the next turns of conversations";

fn explained(table: &Bundle) -> Bundle {
    let content = |mime| table.get(mime).unwrap_or_default();
    rendered(
        format!("{}\n({MODELS_LEGEND})", content("text/plain")),
        format!(
            "<div>{}<p><small>{MODELS_LEGEND}</small></p></div>",
            content("text/html")
        ),
    )
}

/// Models that are in memory no more. Reads as a line each.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Freed(
    /// As they were in memory.
    pub Vec<Resident>,
);

impl RichDisplay for Freed {
    fn bundle(&self) -> Bundle {
        let line = |one: &Resident| {
            let bytes = model_bytes(&one.info, units::bytes);
            format!("Freed {} · {bytes}", one.info.name)
        };
        let mut lines: Vec<String> = self.0.iter().map(line).collect();
        if lines.is_empty() {
            lines.push("Nothing was loaded".to_owned());
        }
        let paragraph = |line: &String| format!("<p>{}</p>", html::escape(line));
        let html: String = lines.iter().map(paragraph).collect();
        rendered(lines.join("\n"), format!("<div>{html}</div>"))
    }
}

/// What is above the table.
pub fn summary(status: &HostStatus) -> String {
    let models = match status.models.len() {
        0 => "No model in memory".to_owned(),
        count => format!("{} in memory", units::plural(count, "model")),
    };
    format!(
        "{models} · model host {} takes {} · up for {} · {}",
        status.pid,
        units::bytes(status.process_bytes),
        units::seconds(status.uptime_seconds),
        units::plural(status.clients as usize, "client"),
    )
}

fn row(resident: &Resident) -> Vec<String> {
    let info = &resident.info;
    vec![
        info.name.clone(),
        info.quantization.clone(),
        info.device.clone(),
        model_bytes(info, units::bytes),
        units::bytes(resident.cache_bytes),
        units::seconds(resident.age_seconds),
        units::seconds(resident.idle_seconds),
        if resident.pinned {
            format!("{}, pinned", resident.users)
        } else {
            resident.users.to_string()
        },
    ]
}
