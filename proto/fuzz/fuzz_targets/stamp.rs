#![no_main]
use newim_proto_fuzz::checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::stamped(data));
