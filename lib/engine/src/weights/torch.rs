//! Weights as `torch.save` writes them: `pytorch_model.bin`, or the files that its index lists. Only
//! the zip format of torch 1.6 and later; what an archive's pickle says is read by `pickle`.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use wire::Failure;

use super::{
    Format, Headers, TensorEntry, Untaken,
    archive::{self, Place},
    open_file,
    pickle::{self, Tensor},
};
use crate::failures;

/// The longest pickle that is read; one of 100,000 tensors has about 10 MB.
const LONGEST_PICKLE: u64 = 32 << 20;

/// Reads the headers of these files.
pub fn open(paths: Vec<PathBuf>) -> Result<Headers, Failure> {
    let mut headers = Headers::default();
    for path in paths {
        let (file, length) = open_file(&path)?;
        let (tensors, untaken) = read(&path, &file, length, headers.files.len())?;
        for (name, entry) in tensors {
            if headers.tensors.insert(name.clone(), entry).is_some() {
                let what = format!("tensor `{name}` is there twice");
                return Err(failures::corrupt(&path, what));
            }
        }
        headers.untaken.extend(untaken);
        headers.files.push((path, file));
    }
    Ok(headers)
}

fn read(
    path: &Path,
    file: &File,
    length: u64,
    number: usize,
) -> Result<(Vec<(String, TensorEntry)>, Untaken), Failure> {
    let corrupt = |what: String| failures::corrupt(path, what);
    if is_legacy(file).map_err(|error| failures::io(path, &error))? {
        return Err(failures::unsupported(format!(
            "cannot load `{}`: it is in the format of torch before 1.6",
            path.display()
        ))
        .hint("load it with torch and save it again, best by `save_pretrained`, as safetensors"));
    }
    let entries = archive::entries(file, length).map_err(|fault| match fault {
        archive::Fault::Io(error) => failures::io(path, &error),
        archive::Fault::Bad(what) => corrupt(what),
    })?;
    let pickled = entries.iter().find(|(name, _)| name.ends_with("/data.pkl"));
    let Some((name, place)) = pickled else {
        return Err(corrupt("it holds no `data.pkl`".to_owned()));
    };
    if place.bytes > LONGEST_PICKLE {
        let bytes = place.bytes;
        return Err(corrupt(format!(
            "its pickle has {bytes} bytes, over the limit of {LONGEST_PICKLE}"
        )));
    }
    let mut bytes = vec![0; place.bytes as usize];
    file.read_exact_at(&mut bytes, place.offset)
        .map_err(|error| failures::io(path, &error))?;
    let folder = name.trim_end_matches("data.pkl");
    let table = pickle::read(&bytes).map_err(|what| corrupt(format!("its pickle: {what}")))?;
    let (mut found, mut untaken) = (Vec::new(), Untaken::new());
    for (name, tensor) in table {
        // As in safetensors: a type that no layer takes must not stop a model that loads none.
        let Some(format) = format_of(tensor.class) else {
            untaken.insert(name, tensor.class.to_owned());
            continue;
        };
        let entry = entry(&tensor, format, folder, &entries)
            .ok_or_else(|| corrupt(format!("tensor `{name}` does not fit its storage")))?;
        found.push((
            name,
            TensorEntry {
                file: number,
                ..entry
            },
        ));
    }
    Ok((found, untaken))
}

/// Whether it begins as a tar, or as the pickle of torch's magic number.
fn is_legacy(file: &File) -> io::Result<bool> {
    let mut start = [0; 16];
    let read = file.read_at(&mut start, 0)?;
    Ok(start[..read].starts_with(b"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8"))
}

/// The format of a storage's class, and whether the file has its values as f64.
fn format_of(class: &str) -> Option<(Format, bool)> {
    match class {
        "FloatStorage" => Some((Format::F32, false)),
        "DoubleStorage" => Some((Format::F32, true)),
        "HalfStorage" => Some((Format::F16, false)),
        "BFloat16Storage" => Some((Format::BF16, false)),
        _ => None,
    }
}

/// Where a tensor lies; `None` when it is not inside its storage, or larger than it.
fn entry(
    tensor: &Tensor,
    (format, doubles): (Format, bool),
    folder: &str,
    entries: &HashMap<String, Place>,
) -> Option<TensorEntry> {
    let storage = entries.get(&format!("{folder}data/{}", tensor.storage))?;
    let bytes = format.block_bytes() as u64;
    let size = bytes * if doubles { 2 } else { 1 };
    if tensor.storage_values.checked_mul(size)? > storage.bytes {
        return None;
    }
    let (mut values, mut last) = (1_u64, tensor.offset);
    for (&size, &stride) in tensor.shape.iter().zip(&tensor.strides) {
        values = values.checked_mul(size as u64)?;
        last = last.checked_add((size as u64).saturating_sub(1).checked_mul(stride as u64)?)?;
    }
    // One value stands for many where a stride is 0: a model is never saved so, and it would let a
    // few bytes claim any memory.
    if values > 0 && (last >= tensor.storage_values || values > tensor.storage_values) {
        return None;
    }
    Some(TensorEntry {
        file: 0,
        offset: storage.offset + tensor.offset * size,
        bytes: values * bytes,
        format,
        doubles,
        shape: tensor.shape.clone(),
        strides: (!is_in_order(tensor)).then(|| tensor.strides.clone()),
    })
}

/// Whether the values stand one after the other. The stride of a dimension of one value is anything.
fn is_in_order(tensor: &Tensor) -> bool {
    let mut expected = 1_usize;
    for (&size, &stride) in tensor.shape.iter().zip(&tensor.strides).rev() {
        if size > 1 && stride != expected {
            return false;
        }
        expected = expected.saturating_mul(size);
    }
    true
}
