//! A GGUF file written piece by piece, true to the format or not.

/// The bytes of a file whose counts are right for what was added.
pub struct Gguf(pub Vec<u8>);

const TENSORS: usize = 8;
const PAIRS: usize = 16;

impl Gguf {
    /// A file with nothing in it.
    pub fn new() -> Self {
        Self(Self::counts(0, 0))
    }

    /// The head of a file that announces these counts.
    pub fn counts(tensors: u64, pairs: u64) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(pairs.to_le_bytes());
        bytes
    }

    /// Adds a pair; `value` as the file holds it.
    pub fn pair(self, key: &str, kind: u32, value: &[u8]) -> Self {
        let length = key.len() as u64;
        let mut file = self.raw_key(length, key.as_bytes());
        file.0.extend(kind.to_le_bytes());
        file.0.extend(value);
        file
    }

    /// Begins a pair with a key that says it has this length.
    pub fn raw_key(mut self, length: u64, key: &[u8]) -> Self {
        self.add(PAIRS);
        self.0.extend(length.to_le_bytes());
        self.0.extend(key);
        self
    }

    /// Adds a tensor of a ggml type, its shape as the file has it; after all pairs.
    pub fn tensor(mut self, name: &str, shape: &[u64], kind: u32, offset: u64) -> Self {
        self.add(TENSORS);
        self.0.extend((name.len() as u64).to_le_bytes());
        self.0.extend(name.as_bytes());
        self.0.extend((shape.len() as u32).to_le_bytes());
        for size in shape {
            self.0.extend(size.to_le_bytes());
        }
        self.0.extend(kind.to_le_bytes());
        self.0.extend(offset.to_le_bytes());
        self
    }

    fn add(&mut self, at: usize) {
        let count = self.0[at..at + 8].first_chunk().copied();
        let count = u64::from_le_bytes(count.expect("the head is there"));
        self.0[at..at + 8].copy_from_slice(&(count + 1).to_le_bytes());
    }
}
