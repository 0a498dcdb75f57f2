//! What is known of a loaded model: facts, memory by part, and its modules as `print(model)` of
//! transformers shows them, to be folded.

use std::fmt::Write;

use wire::{
    mime::Bundle,
    model::{DType, Device, ModelInfo, ModuleInfo},
};

use crate::{RichDisplay, html, rendered, units};

/// Modules that are this deep are folded: the experts of a layer.
const OPEN_DEPTH: usize = 5;
const INDENT: &str = "margin-left: 1.4em;";

impl RichDisplay for ModelInfo {
    fn bundle(&self) -> Bundle {
        let (facts, caption) = (facts(self), format!("Model {}", self.name));
        let mut text = html::facts_text(&caption, &facts);
        let mut html = html::facts(&caption, &facts);
        if let Some(modules) = &self.modules {
            let _ = write!(text, "\n{modules}");
            let mut tree = String::new();
            write_module(&mut tree, modules, 0);
            html = format!(
                "<div>{html}{}{}</div>",
                html::details("Memory by part", false, &memory(modules)),
                html::details(
                    "Modules",
                    true,
                    &format!("<div style=\"font-family: monospace;\">{tree}</div>")
                )
            );
        }
        rendered(text, html)
    }
}

fn facts(info: &ModelInfo) -> Vec<(&'static str, String)> {
    let weights = match info.dtype {
        Some(dtype) => format!(
            "{} in {}, the rest in {}",
            units::bytes(info.bytes),
            info.quantization,
            name(dtype)
        ),
        None => format!("{} in {}", units::bytes(info.bytes), info.quantization),
    };
    let mut facts = vec![
        ("architecture", info.architecture.clone()),
        ("parameters", units::count(info.parameters)),
        ("weights", weights),
        (
            "memory footprint",
            format!(
                "{} ({} bytes) as transformers counts",
                units::bytes(info.memory_footprint),
                info.memory_footprint
            ),
        ),
        ("device", device(info)),
        (
            "layers × width",
            format!("{} × {}", info.layers, info.hidden_size),
        ),
        ("context", format!("{} tokens", info.context_length)),
        ("vocabulary", format!("{} tokens", info.vocab_size)),
    ];
    if let Some(license) = &info.license {
        facts.push(("licence", license.to_string()));
    }
    facts.push(("files", files(&info.files)));
    facts.push(("loaded", loaded(info)));
    facts
}

/// A map by modules says which device has what; one device has all.
fn device(info: &ModelInfo) -> String {
    let mut places: Vec<(Device, Vec<&str>)> = Vec::new();
    for (module, device) in &info.device_map {
        let module = if module.is_empty() {
            "the rest"
        } else {
            module
        };
        match places.iter_mut().find(|(known, _)| known == device) {
            Some((_, modules)) => modules.push(module),
            None => places.push((*device, vec![module])),
        }
    }
    match &places[..] {
        [] => info.device.clone(),
        [(device, modules)] if modules.len() == 1 => device.to_string(),
        [(device, modules)] => format!("{device}, by a map of {} modules", modules.len()),
        several => {
            let place = |(device, modules): &(Device, Vec<&str>)| {
                format!("{device}: {}", modules.join(", "))
            };
            several.iter().map(place).collect::<Vec<_>>().join("; ")
        }
    }
}

fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
    }
}

/// The first of many shards says where all are.
fn files(files: &[String]) -> String {
    match files {
        [first, _, _, _, ..] => format!("{first} and {} more", files.len() - 1),
        _ => files.join(", "),
    }
}

fn loaded(info: &ModelInfo) -> String {
    let seconds = units::seconds(info.load_seconds);
    if info.was_resident {
        format!("was in memory (first load took {seconds})")
    } else {
        format!("in {seconds}")
    }
}

/// A table of the parts below the two outermost modules; layers by their own parts, all together.
fn memory(root: &ModuleInfo) -> String {
    let mut rows: Vec<(String, u64, u64)> = Vec::new();
    let mut add = |name: String, module: &ModuleInfo, times: u64| {
        let (parameters, bytes) = (module.parameters * times, module.bytes * times);
        match rows.iter_mut().find(|(known, ..)| *known == name) {
            Some(row) => {
                row.1 += parameters;
                row.2 += bytes;
            }
            None if bytes > 0 => rows.push((name, parameters, bytes)),
            None => {}
        }
    };
    for outer in &root.parts {
        if outer.parts.is_empty() {
            add(outer.name.clone(), outer, 1);
        }
        for part in &outer.parts {
            if part.parts.is_empty() {
                add(part.name.clone(), part, 1);
            }
            for layer in &part.parts {
                for inner in &layer.parts {
                    let name = if inner.parts.is_empty() {
                        format!("{}, norms", part.name)
                    } else {
                        format!("{}, {}", part.name, inner.name)
                    };
                    add(name, inner, u64::from(layer.count));
                }
            }
        }
    }
    let total = root.bytes.max(1);
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, parameters, bytes)| {
            let share = bytes as f64 / total as f64;
            vec![
                html::escape(&name),
                units::count(parameters),
                units::bytes(bytes),
                format!(
                    "<meter value=\"{share:.3}\" max=\"1\"></meter> {:.1} %",
                    share * 100.0
                ),
            ]
        })
        .collect();
    html::table("", &["part", "parameters", "bytes", "share"], &rows)
}

fn write_module(html: &mut String, module: &ModuleInfo, depth: usize) {
    let line = html::escape(&format!("{}{}", module.label(), module.class));
    let sizes = match module.bytes {
        0 => String::new(),
        bytes => {
            let each = if module.count > 1 { " each" } else { "" };
            let parameters = units::count(module.parameters);
            format!(
                " <small>· {parameters} · {}{each}</small>",
                units::bytes(bytes)
            )
        }
    };
    let indent = if depth == 0 { "" } else { INDENT };
    if module.parts.is_empty() {
        let _ = write!(
            html,
            "<div style=\"{indent}\"><code>{line}</code>{sizes}</div>"
        );
        return;
    }
    let open = if depth < OPEN_DEPTH { " open" } else { "" };
    let _ = write!(
        html,
        "<details style=\"{indent}\"{open}><summary><code>{line}</code>{sizes}</summary>"
    );
    for part in &module.parts {
        write_module(html, part, depth + 1);
    }
    html.push_str("</details>");
}
