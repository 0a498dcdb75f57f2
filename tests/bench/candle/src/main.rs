//! How fast candle's own `quantized_llama` runs a GGUF file, as JSON in the form of the engine's example `measure`.
//!
//! `candle-peer DEVICE CONTEXTS FILE`, as `candle-peer cuda:0 128,512 blocks.gguf`. Its context ends at 4,096 tokens;
//! contexts that leave no room are left out.

use std::{env, error::Error, fs::File, io::BufReader, time::Instant};

use candle_core::{D, Device, Tensor, quantized::gguf_file};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};
use serde_json::{Value, json};

/// Tokens that are generated after a context.
const TOKENS: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [device, contexts, file] = &arguments[..] else {
        return Err("candle-peer DEVICE CONTEXTS FILE".into());
    };
    let device = match (device.as_str(), device.strip_prefix("cuda:")) {
        ("cpu", _) => Device::Cpu,
        (_, Some(number)) => Device::new_cuda(number.parse()?)?,
        _ => return Err("the device is cpu or cuda:0".into()),
    };
    let started = Instant::now();
    let mut reader = BufReader::new(File::open(file)?);
    let content = gguf_file::Content::read(&mut reader)?;
    let mut model = ModelWeights::from_gguf(content, &mut reader, &device)?;
    device.synchronize()?;
    let load = started.elapsed().as_secs_f64();
    let mut found: Vec<Value> = Vec::new();
    for length in contexts.split(',') {
        let length = length.parse()?;
        if length + TOKENS > MAX_SEQ_LEN {
            continue;
        }
        // What is first touched by a prompt of this length is not what is measured.
        generate(&mut model, &device, length, 2)?;
        let (prefill, decode) = generate(&mut model, &device, length, TOKENS)?;
        found.push(json!({
            "context": length,
            "prefill": length as f64 / prefill,
            "first_token": prefill,
            "decode": (TOKENS - 1) as f64 / decode,
        }));
    }
    println!("{}", json!({"load": load, "contexts": found}));
    Ok(())
}

/// Seconds for a prompt and for the tokens after the first. A prompt at position 0 forgets what was read before.
fn generate(
    model: &mut ModelWeights,
    device: &Device,
    length: usize,
    tokens: usize,
) -> candle_core::Result<(f64, f64)> {
    let prompt: Vec<u32> = (0..length as u32).map(|at| 3 + at * 7 % 89).collect();
    let started = Instant::now();
    let mut next = step(model, &prompt, 0, device)?;
    let prefill = started.elapsed().as_secs_f64();
    let started = Instant::now();
    for place in 1..tokens {
        next = step(model, &[next], length + place - 1, device)?;
    }
    Ok((prefill, started.elapsed().as_secs_f64()))
}

/// The likeliest token after some.
fn step(
    model: &mut ModelWeights,
    ids: &[u32],
    position: usize,
    device: &Device,
) -> candle_core::Result<u32> {
    let ids = Tensor::new(ids, device)?.unsqueeze(0)?;
    let logits = model.forward(&ids, position)?;
    logits.argmax(D::Minus1)?.squeeze(0)?.to_scalar()
}
