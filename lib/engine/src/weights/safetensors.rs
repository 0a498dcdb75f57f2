//! Headers of safetensors files. Which files make a model, `folder` decides.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use wire::Failure;

use super::{
    Format, Headers, TensorEntry, Tensors, Untaken, check_places, header_failure, open_file,
};
use crate::failures;

/// The longest header that is read; the reference implementation has the same limit.
const LONGEST_HEADER: u64 = 100_000_000;
/// Most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// Reads the headers of these files.
pub fn open(paths: Vec<PathBuf>) -> Result<Headers, Failure> {
    let mut headers = Headers::default();
    for path in paths {
        let (mut file, length) = open_file(&path)?;
        let (tensors, untaken) = read_header(&path, &mut file, length, headers.files.len())?;
        for (name, entry) in tensors {
            if headers.tensors.insert(name.clone(), entry).is_some() {
                let what = format!("tensor `{name}` is in another shard too");
                return Err(failures::corrupt(&path, what));
            }
        }
        headers.untaken.extend(untaken);
        headers.files.push((path, file));
    }
    Ok(headers)
}

fn read_header(
    path: &Path,
    file: &mut File,
    length: u64,
    number: usize,
) -> Result<(Tensors, Untaken), Failure> {
    let mut size = [0; 8];
    file.read_exact(&mut size)
        .map_err(|error| header_failure(path, &error))?;
    let size = u64::from_le_bytes(size);
    if size > LONGEST_HEADER || size.saturating_add(8) > length {
        return Err(failures::corrupt(
            path,
            "its header is longer than the file",
        ));
    }
    let mut text = vec![0; size as usize];
    file.read_exact(&mut text)
        .map_err(|error| header_failure(path, &error))?;
    let header: Header =
        serde_json::from_slice(&text).map_err(|error| failures::corrupt(path, error))?;
    let (mut tensors, mut untaken) = (Tensors::new(), Untaken::new());
    for (name, tensor) in header.0 {
        let doubles = tensor.dtype == "F64";
        let format = Format::from_safetensors(if doubles { "F32" } else { &tensor.dtype });
        // A dtype that no layer takes (token-type ids, masks) must not stop a model that loads none.
        let Some(format) = format else {
            untaken.insert(name, tensor.dtype);
            continue;
        };
        let format = (format, doubles);
        let entry = tensor.entry(format, number, 8 + size).ok_or_else(|| {
            failures::corrupt(path, format!("tensor `{name}` does not fit its place"))
        })?;
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(failures::corrupt(
                path,
                format!("tensor `{name}` is there twice"),
            ));
        }
    }
    check_places(&tensors, length).map_err(|what| failures::corrupt(path, what))?;
    Ok((tensors, untaken))
}

/// The entries of a header in its order, a name that is there twice included. Not a map of JSON
/// values: a hundred megabytes of those take gigabytes.
struct Header(Vec<(String, HeaderTensor)>);

#[derive(Deserialize)]
struct HeaderTensor {
    dtype: String,
    #[serde(deserialize_with = "dimensions")]
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl HeaderTensor {
    /// The tensor's place; `None` when shape and offsets contradict each other.
    fn entry(
        self,
        (format, doubles): (Format, bool),
        file: usize,
        start: u64,
    ) -> Option<TensorEntry> {
        let (begin, end) = self.data_offsets;
        let stored = end.checked_sub(begin)?;
        let mut values = 1_u64;
        for &size in &self.shape {
            values = values.checked_mul(size as u64)?;
        }
        let entry = TensorEntry {
            file,
            offset: begin.checked_add(start)?,
            bytes: format.bytes_of(values)?,
            format,
            doubles,
            shape: self.shape,
            strides: None,
        };
        (entry.bytes.checked_mul(if doubles { 2 } else { 1 })? == stored).then_some(entry)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        let entry = map.next_value().map_err(|error| {
                            A::Error::custom(format_args!("tensor `{name}`: {error}"))
                        })?;
                        entries.push((name, entry));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A shape of few dimensions.
fn dimensions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<usize>, D::Error> {
    struct Sizes;
    impl<'de> Visitor<'de> for Sizes {
        type Value = Vec<usize>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "at most {MOST_DIMENSIONS} dimensions")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Vec<usize>, A::Error> {
            let mut shape = Vec::new();
            while let Some(size) = sizes.next_element()? {
                if shape.len() == MOST_DIMENSIONS {
                    return Err(A::Error::invalid_length(shape.len() + 1, &self));
                }
                shape.push(size);
            }
            Ok(shape)
        }
    }
    deserializer.deserialize_seq(Sizes)
}
