//! What a cell does, by name, in a process of its own: the tests run it against the toy host and
//! read what it prints.

#![expect(clippy::print_stdout, reason = "the tests read standard output")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use warmcell::prelude::*;

fn main() -> ExitCode {
    let script = std::env::args().nth(1).unwrap_or_default();
    match run(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}: {error}", error.kind().name());
            ExitCode::FAILURE
        }
    }
}

fn run(script: &str) -> warmcell::Result<()> {
    match script {
        "tour" => tour(),
        "load-slow" => {
            let started = Instant::now();
            let model = AutoModelForCausalLM::from_pretrained("slow").load()?;
            println!(
                "resident={} ms={}",
                model.info().was_resident,
                started.elapsed().as_millis()
            );
            Ok(())
        }
        "endless" => {
            let model = AutoModelForCausalLM::from_pretrained("endless").load()?;
            let tokenizer = model.tokenizer()?;
            model
                .generate("abc ")
                .streamer(TextStreamer::new(&tokenizer))
                .run()
                .map(drop)
        }
        "panicking-callback" => {
            let model = AutoModelForCausalLM::from_pretrained("endless").load()?;
            let outcome = std::panic::catch_unwind(|| {
                let stop = |_: &StreamedToken| panic!("enough");
                model.generate("abc ").on_token(stop).run()
            });
            println!("unwound={}", outcome.is_err());
            // This process stays connected: only the call's own end can have cancelled it.
            let limit = Instant::now() + Duration::from_secs(10);
            let is_free = || models().is_ok_and(|models| models.resident()[0].users == 0);
            while !is_free() && Instant::now() < limit {
                std::thread::sleep(Duration::from_millis(5));
            }
            println!("free={}", is_free());
            Ok(())
        }
        "reload" => {
            let model = AutoModelForCausalLM::from_pretrained("slow").load()?;
            let lost = AutoModelForCausalLM::from_pretrained("abort")
                .load()?
                .generate("abc")
                .run();
            println!(
                "{}",
                lost.map_or_else(|error| error.kind().name(), |_| "no error")
            );
            println!("{}", model.generate("again").max_new_tokens(5).run()?);
            Ok(())
        }
        name => AutoModelForCausalLM::from_pretrained(name).load().map(drop),
    }
}

fn tour() -> warmcell::Result<()> {
    let tokenizer = AutoTokenizer::from_pretrained("toy")?;
    let tokens = tokenizer.encode("한 a")?;
    println!("{tokens:?} → {}", tokenizer.decode(&tokens)?);
    let refused = AutoTokenizer::from_pretrained("other")?.decode(&tokens);
    println!(
        "{}",
        refused.unwrap_or_else(|error| error.kind().name().to_owned())
    );
    println!("{}", tokenizer.decode(&[104, 105])?);
    let messages = messages![system: "Be brief.", user: "Hello!"];
    println!("{:?}", tokenizer.apply_chat_template(&messages)?.text());
    let options = TemplateOptions {
        add_generation_prompt: true,
        ..TemplateOptions::default()
    };
    let chat = tokenizer.apply_chat_template_with(&messages, options)?;
    println!("{:?}", chat.to_string());
    let model = AutoModelForCausalLM::from_pretrained("toy")
        .device_map("auto")
        .load()?;
    let streamer = TextStreamer::new(&tokenizer)
        .skip_prompt(true)
        .skip_special_tokens(true);
    let generation = model
        .generate(&messages)
        .max_new_tokens(8)
        .streamer(streamer)
        .run()?;
    println!(
        "{} {:?}",
        generation.ids().len(),
        generation.finish_reason()
    );
    println!("{}", model.generate(&chat).max_new_tokens(3).run()?);
    println!("{}", model.generate(&tokens).max_new_tokens(3).run()?);
    println!(
        "{}",
        pipeline_with("text-generation")
            .model("toy")
            .load()?
            .max_new_tokens(2)
            .run("xyz")?
    );
    println!(
        "{}",
        pipeline_with("text-generation")
            .model("toy")
            .load()?
            .max_new_tokens(6)
            .run(&messages)?
    );
    println!("{}", models()?.resident().len());
    println!("{}", unload("toy")?.len());
    let unknown =
        pipeline("text-generatoin").map_or_else(|error| error.to_string(), |_| String::new());
    println!("{unknown}");
    let device = AutoModelForCausalLM::from_pretrained("toy")
        .device_map("tpu")
        .load();
    println!(
        "{}",
        device.map_or_else(|error| error.to_string(), |_| String::new())
    );
    Ok(())
}
