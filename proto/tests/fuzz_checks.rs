//! Runs the checks of the fuzz targets as ordinary tests: over the committed corpora, over those inputs with
//! small damages, and over random bytes.

#[path = "../fuzz/src/checks.rs"]
mod checks;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    paths.sort();
    let inputs: Vec<_> = paths
        .iter()
        .map(|path| fs::read(path).expect("a file"))
        .collect();
    assert!(inputs.len() >= 3, "{name} has a corpus");
    inputs
}

#[test]
fn every_check_holds_for_its_corpus_cut_anywhere_and_with_any_byte_changed() {
    for (name, check) in checks::ALL {
        for input in corpus(name) {
            check(&input);
            for at in 0..input.len().min(600) {
                check(&input[..at]);
                for flip in [0x01, 0x80, 0xff] {
                    let mut damaged = input.clone();
                    damaged[at] ^= flip;
                    check(&damaged);
                }
            }
        }
    }
}

/// The bytes of fields that look like those of a ChatMessage, right and wrong, in any order and number.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let varint = prop_oneof![0u64..10, any::<u64>()];
    let text = prop_oneof![
        "[a-z]{0,5}".prop_map(String::into_bytes),
        any::<[u8; 3]>().prop_map(Vec::from)
    ];
    let field = (
        1u32..25,
        prop_oneof![4 => Just(None), 1 => (0u8..8).prop_map(Some)],
        varint,
        text,
    );
    prop::collection::vec(field, 0..12).prop_map(|fields| {
        use newim_proto::protobuf::put_varint;
        // The four required fields come first, so that most inputs get past them.
        let mut out = vec![0x0a, 1, b'b', 0x10, 0, 0x38, 0, 0x40, 2];
        for (number, odd_wire_type, value, text) in fields {
            let usual = if matches!(number, 1 | 3..=6 | 9 | 19 | 21) {
                2
            } else {
                0
            };
            let wire_type = odd_wire_type.unwrap_or(usual);
            put_varint(&mut out, u64::from(number << 3) | u64::from(wire_type));
            match wire_type {
                0 => put_varint(&mut out, value),
                1 => out.extend(value.to_le_bytes()),
                2 => {
                    put_varint(&mut out, text.len() as u64);
                    out.extend(text);
                }
                5 => out.extend((value as u32).to_le_bytes()),
                _ => {}
            }
        }
        out
    })
}

proptest! {
    #[test]
    fn every_check_holds_for_random_bytes(data in prop::collection::vec(any::<u8>(), 0..200)) {
        for (_, check) in checks::ALL {
            check(&data);
        }
    }

    #[test]
    fn the_view_agrees_with_prost_and_the_stamp_holds_for_random_fields(data in fields()) {
        checks::chat_view(&data);
        checks::stamped(&data);
    }
}
