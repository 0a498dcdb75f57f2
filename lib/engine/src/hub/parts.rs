//! GGUF files that llama.cpp's `gguf-split` cut in parts, by their names: `NAME-00001-of-00003.gguf`.
//! The first part describes the model, the tensors lie in all of them.

/// Most parts that are believed.
const MOST_PARTS: usize = 4096;

/// The names of all parts, in order, when `file` is the name of one.
pub(crate) fn parts_of(file: &str) -> Option<Vec<String>> {
    let stem = file.strip_suffix(".gguf")?;
    let pieces: Vec<&str> = stem.rsplitn(4, '-').collect();
    let [count, "of", number, name] = pieces[..] else {
        return None;
    };
    let parse = |text: &str| {
        (text.len() == 5)
            .then(|| text.parse::<usize>().ok())
            .flatten()
    };
    let (total, number) = (parse(count)?, parse(number)?);
    if !(1..=total).contains(&number) || total > MOST_PARTS {
        return None;
    }
    let part = |number: usize| format!("{name}-{number:05}-of-{count}.gguf");
    Some((1..=total).map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::parts_of;

    #[test]
    fn a_part_names_its_siblings() {
        let parts = ["a-b-00001-of-00002.gguf", "a-b-00002-of-00002.gguf"];
        let parts: Option<Vec<String>> = Some(parts.map(str::to_owned).to_vec());
        assert_eq!(parts_of("a-b-00002-of-00002.gguf"), parts);
        for whole in [
            "a.gguf",
            "a-00003-of-00002.gguf",
            "a-00000-of-00002.gguf",
            "a-1-of-2.gguf",
        ] {
            assert_eq!(parts_of(whole), None, "{whole}");
        }
    }
}
