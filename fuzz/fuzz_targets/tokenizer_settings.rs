#![no_main]

// The parser contains the panics of a library below it: only those that get past it may abort.
libfuzzer_sys::fuzz_target!(
    init: drop(std::panic::take_hook()),
    |data: &[u8]| adaptkit_fuzzing::tokenizer_settings(data)
);
