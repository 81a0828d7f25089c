#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mimecast_source_fuzz::upstream_error(data));
