//! The tree of a model's modules, and its text, which is that of `print(model)` in torch.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

/// A module of a model, with the modules in it. Its `Display` is the text that torch prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// Its name in the module around it: `q_proj`; `0-15` for several that are alike.
    pub name: String,
    /// Its class, with its sizes where it has no modules of its own.
    pub class: String,
    /// How many are alike.
    pub count: u32,
    /// Parameters of one, those of its modules included.
    pub parameters: u64,
    /// Bytes that one takes, with the scales of quantised blocks.
    pub bytes: u64,
    /// The modules in it.
    pub parts: Vec<ModuleInfo>,
}

impl ModuleInfo {
    /// `(name): `, and how many there are.
    pub fn label(&self) -> String {
        let mut label = String::new();
        if !self.name.is_empty() {
            let _ = write!(label, "({}): ", self.name);
        }
        if self.count > 1 {
            let _ = write!(label, "{} x ", self.count);
        }
        label
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        write!(f, "{:indent$}{}{}", "", self.label(), self.class)?;
        if self.parts.is_empty() {
            return Ok(());
        }
        f.write_str("(\n")?;
        for part in &self.parts {
            part.write(f, indent + 2)?;
            f.write_char('\n')?;
        }
        write!(f, "{:indent$})", "")
    }
}

impl fmt::Display for ModuleInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}
