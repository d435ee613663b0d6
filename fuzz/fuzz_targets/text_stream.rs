#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adaptkit_fuzzing::text_stream(data));
