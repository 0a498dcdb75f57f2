//! What the model host holds, as a table.

use std::fmt::Write;

use wire::{host::HostStatus, mime::Bundle, model::Resident};

use crate::{RichDisplay, html, rendered, units};

const HEADER: [&str; 7] = [
    "model", "weights", "device", "bytes", "age", "idle", "users",
];

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
        let escaped: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| html::escape(cell)).collect())
            .collect();
        rendered(
            format!("{summary}{}", text_table(&rows)),
            html::table(&summary, &HEADER, &escaped),
        )
    }
}

fn summary(status: &HostStatus) -> String {
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
        units::bytes(info.bytes),
        units::seconds(resident.age_seconds),
        units::seconds(resident.idle_seconds),
        resident.users.to_string(),
    ]
}

/// Columns padded to their widest cell.
fn text_table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADER[column].len()]).max().unwrap_or(0)
    };
    let mut text = String::new();
    let header: Vec<String> = HEADER.iter().map(|&name| name.to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(line, "  {cell:0$}", width(column));
        }
        text.push('\n');
        text.push_str(line.trim_end());
    }
    text
}
