//! How fast a cell's calls to a tokenizer are: the client's round trip to the model host included.
//! `tests/bench/encode.py` runs it beside Python's `tokenizers`; alone it takes a tokenizer and
//! a JSON file with a list of texts, and prints what it measured as JSON.

#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

use std::time::Instant;

use warmcell::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("usage: tokenizer_speed TOKENIZER TEXTS.json [FOLDER]".into());
    };
    let texts: Vec<String> = serde_json::from_slice(&std::fs::read(file)?)?;
    let tokenizer = AutoTokenizer::from_pretrained(name)?;
    if let Some(folder) = arguments.next() {
        tokenizer.save_pretrained(folder)?;
    }
    let mut tokens = 0;
    let single = fastest(|| {
        tokens = 0;
        for text in &texts {
            tokens += tokenizer.encode_batch([text])?.input_ids()[0].len();
        }
        Ok(())
    })?;
    let looked_at = fastest(|| {
        texts
            .iter()
            .try_for_each(|text| tokenizer.encode(text).map(drop))
    })?;
    let batch = fastest(|| tokenizer.encode_batch(&texts).map(drop))?;
    let mut short = Vec::new();
    for number in 0..1000 {
        let started = Instant::now();
        tokenizer.encode(format!("Hello LLM engineers, number {number}!"))?;
        short.push(started.elapsed().as_secs_f64() * 1e6);
    }
    short.sort_by(f64::total_cmp);
    let result = serde_json::json!({
        "tokens": tokens, "single": single, "encode": looked_at, "batch": batch,
        "short_median_us": short[500], "short_p90_us": short[900],
        "short_mean_us": short.iter().sum::<f64>() / 1000.0,
    });
    println!("{result}");
    Ok(())
}

/// Seconds of the fastest of three.
fn fastest(mut work: impl FnMut() -> warmcell_result::Result) -> warmcell_result::Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let started = Instant::now();
        work()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}

mod warmcell_result {
    pub type Result<T = ()> = std::result::Result<T, warmcell::Error>;
}
