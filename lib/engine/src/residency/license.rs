//! The licence that a model's files name: a GGUF's metadata, or the head of a folder's `README.md`.

use std::{fs::File, io::Read};

use crate::{
    hub::Layout,
    weights::{Description, Weights},
};

/// Bytes of a README that are looked at: its head stands first.
const LONGEST_HEAD: u64 = 64 << 10;

/// The name of the licence; `None` where the files name none.
pub fn license(layout: &Layout, weights: &Weights) -> Option<String> {
    if let Description::Gguf(metadata) = &weights.description {
        return metadata.text("general.license").map(str::to_owned);
    }
    let Layout::Folder(folder) = layout else {
        return None;
    };
    let mut text = Vec::new();
    let file = File::open(folder.join("README.md")).ok()?;
    file.take(LONGEST_HEAD).read_to_end(&mut text).ok()?;
    in_head(&String::from_utf8_lossy(&text))
}

/// `license: …` of the lines between the first two `---`; `license_name` where it is `other`.
fn in_head(text: &str) -> Option<String> {
    let (head, _) = text.strip_prefix("---")?.split_once("\n---")?;
    let value = |key: &str| {
        let mut lines = head.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let value = value.trim().trim_matches(['\'', '"']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    match value("license")? {
        other if other == "other" => value("license_name").or(Some(other)),
        license => Some(license),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_readme_names_a_license() {
        assert_eq!(
            in_head("---\nlanguage: en\nlicense: apache-2.0\n---\n# x"),
            Some("apache-2.0".to_owned())
        );
        let named = "---\nlicense: other\nlicense_name: \"llama3.2\"\n---\n";
        assert_eq!(in_head(named), Some("llama3.2".to_owned()));
        assert_eq!(in_head("# license: mit\n"), None);
        assert_eq!(in_head("---\nlanguage: en\n---\nlicense: mit\n"), None);
    }
}
