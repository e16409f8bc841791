//! The behaviours that every engine has. Each function gets a maker of empty stores.

use newim_proto::log::{
    Append, AppendKind, Appended, BoxFacts, Command, Head, Range, Reply, StoreError,
};
use newim_store::limits::RANGE_SCAN_MAX;
use newim_store::settings::{RetentionPolicy, StoreSettings};

use crate::subject::*;
use AppendKind::{Chat, Join, Quit};

pub type Maker<'a> = &'a dyn Fn(StoreSettings) -> Box<dyn Subject>;

fn fresh(new: Maker) -> Box<dyn Subject> {
    new(StoreSettings::default())
}

pub fn seqs_are_contiguous_from_one_in_each_box_under_interleaving(new: Maker) {
    let mut store = fresh(new);
    let mut commands = Vec::new();
    for number in 0..300 {
        let kind = if number < 3 { Join } else { Chat };
        commands.push(Command::Append(append(
            ["a", "b", "c"][number as usize % 3],
            "ann",
            kind,
            number,
        )));
    }
    let results = store.run(commands);
    for (number, result) in results.into_iter().enumerate() {
        let appended = appended(result.expect("appended"));
        assert_eq!(appended.seq, number as u64 / 3 + 1);
        assert!(!appended.duplicate);
    }
    assert!(
        store
            .heads(&["a", "b", "c"])
            .iter()
            .all(|head| head.seq == 100)
    );
}

pub fn a_new_box_counts_its_epoch_from_the_clock_and_keeps_it(new: Maker) {
    let mut store = fresh(new);
    assert_eq!(
        store.append(append("a", "ann", Join, 5)).unwrap().epoch,
        START_MS + 5
    );
    assert_eq!(
        store.append(append("a", "ann", Chat, 900)).unwrap().epoch,
        START_MS + 5
    );
    assert_eq!(
        store.heads(&["a"]),
        [Head {
            epoch: START_MS + 5,
            seq: 2
        }]
    );
}

pub fn the_same_client_id_gets_the_first_answer_again(new: Maker) {
    let mut store = fresh(new);
    let first = store
        .append(append("a", "ann", Join, 1).client_id("j"))
        .unwrap();
    store.append(append("a", "ann", Chat, 2)).unwrap();
    let mut again = append("a", "ann", Join, 3).client_id("j");
    again.digest = [1; 16];
    let again = store.append(again).unwrap();
    assert_eq!(
        again,
        Appended {
            duplicate: true,
            ..first
        }
    );
    assert_eq!(store.heads(&["a"])[0].seq, 2, "a duplicate is not appended");
}

pub fn a_duplicate_within_one_batch_is_told_as_well(new: Maker) {
    let mut store = fresh(new);
    store.append(append("a", "ann", Join, 1)).unwrap();
    let message = append("a", "ann", Chat, 2).client_id("m");
    let results = store.run(vec![
        Command::Append(message.clone()),
        Command::Append(message),
    ]);
    let [first, second] = results.try_into().expect("two results");
    let first = appended(first.unwrap());
    assert_eq!(
        appended(second.unwrap()),
        Appended {
            duplicate: true,
            ..first
        }
    );
}

pub fn the_same_client_id_with_another_payload_is_refused(new: Maker) {
    let mut store = fresh(new);
    store.append(append("a", "ann", Join, 1)).unwrap();
    store
        .append(append("a", "ann", Chat, 2).client_id("m"))
        .unwrap();
    let other = store.append(append("a", "ann", Chat, 3).client_id("m"));
    assert_eq!(other, Err(StoreError::ClientIdReused));
    assert_eq!(store.heads(&["a"])[0].seq, 2);
}

pub fn client_ids_of_two_senders_or_two_boxes_are_apart(new: Maker) {
    let mut store = fresh(new);
    for (number, (in_box, sender)) in [("a", "ann"), ("a", "bob"), ("b", "ann"), ("b", "bob")]
        .into_iter()
        .enumerate()
    {
        let joined = store
            .append(append(in_box, sender, Join, number as u64).client_id("m"))
            .unwrap();
        assert!(!joined.duplicate, "{sender} in {in_box}");
    }
}

pub fn a_client_id_is_forgotten_after_the_window(new: Maker) {
    let mut store = new(StoreSettings {
        dedupe_window_ms: 60_000,
        ..StoreSettings::default()
    });
    store
        .append(append("a", "ann", Join, 0).client_id("j"))
        .unwrap();
    let within = append("a", "ann", Join, 59_999).client_id("j");
    let within = Append {
        digest: [0; 16],
        ..within
    };
    assert!(store.append(within).unwrap().duplicate);
    let past = store
        .append(append("a", "ann", Join, 60_000).client_id("j"))
        .unwrap();
    assert_eq!((past.seq, past.duplicate), (2, false));
}

/// Independent of any engine's own housekeeping: at each of many points in time, all messages of the last window
/// are sent again, together and one by one, and get their first answers; clocks that go back a little change
/// nothing.
pub fn a_client_id_is_remembered_for_the_window_whenever_it_came(new: Maker) {
    const WINDOW_MS: u64 = 60_000;
    const STEP_MS: u64 = 7_000;
    let mut store = new(StoreSettings {
        dedupe_window_ms: WINDOW_MS,
        ..StoreSettings::default()
    });
    let sent_at = |at_ms: u64, number: u64| Append {
        digest: [7; 16],
        ..append("a", "ann", direct("bob"), at_ms).client_id(&format!("m{number}"))
    };
    for number in 0..60 {
        let now_ms = number * STEP_MS;
        let first = store.append(sent_at(now_ms, number)).unwrap();
        assert_eq!((first.seq, first.duplicate), (number + 1, false));
        let within = (WINDOW_MS - 1) / STEP_MS;
        let retries: Vec<(u64, u64)> = (number.saturating_sub(within)..=number)
            .flat_map(|earlier| [(earlier, now_ms), (earlier, now_ms.saturating_sub(3_000))])
            .collect();
        let retry = |&(earlier, at_ms): &(u64, u64)| Command::Append(sent_at(at_ms, earlier));
        let mut results = store.run(retries.iter().map(retry).collect());
        results.extend(retries.iter().map(|one| store.one(retry(one))));
        for ((earlier, at_ms), result) in retries.iter().chain(&retries).zip(results) {
            let again = appended(result.unwrap());
            assert_eq!(
                (again.seq, again.duplicate),
                (earlier + 1, true),
                "{earlier} at {at_ms}"
            );
        }
    }
}

pub fn a_duplicate_is_told_even_after_the_sender_left(new: Maker) {
    let mut store = fresh(new);
    store
        .append(append("a", "ann", Join, 1).client_id("j"))
        .unwrap();
    let chat = append("a", "ann", Chat, 2).client_id("m");
    let first = store.append(chat.clone()).unwrap();
    store.append(append("a", "ann", Quit, 3)).unwrap();
    let again = store.append(chat).unwrap();
    assert_eq!(
        again,
        Appended {
            duplicate: true,
            has_members: false,
            ..first
        }
    );
    let rejoined = store
        .append(append("a", "ann", Join, 1).client_id("j"))
        .unwrap();
    assert!(rejoined.duplicate);
    assert_eq!(
        store.boxes("ann"),
        [],
        "a repeated JOIN doesn't undo the QUIT after it"
    );
    assert_eq!(
        store.range("a", "ann", 0).unwrap_err(),
        StoreError::NotAMember
    );
}

pub fn only_members_chat_and_quit(new: Maker) {
    let mut store = fresh(new);
    assert_eq!(
        store.append(append("a", "ann", Chat, 1)),
        Err(StoreError::NotAMember)
    );
    assert_eq!(
        store.append(append("a", "ann", Quit, 2)),
        Err(StoreError::NotAMember)
    );
    assert_eq!(
        store.heads(&["a"]),
        [Head::default()],
        "a refused append leaves no box"
    );
    store.append(append("a", "ann", Join, 3)).unwrap();
    store.append(append("a", "ann", Chat, 4)).unwrap();
    assert_eq!(
        store.append(append("a", "bob", Chat, 5)),
        Err(StoreError::NotAMember)
    );
    store.append(append("a", "ann", Quit, 6)).unwrap();
    assert_eq!(
        store.append(append("a", "ann", Chat, 7)),
        Err(StoreError::NotAMember)
    );
    assert_eq!(
        store.append(append("a", "ann", Quit, 8)),
        Err(StoreError::NotAMember)
    );
    assert_eq!(store.heads(&["a"])[0].seq, 3);
}

pub fn a_join_is_appended_each_time(new: Maker) {
    let mut store = fresh(new);
    for seq in 1..=3 {
        let joined = store.append(append("a", "ann", Join, seq)).unwrap();
        assert_eq!((joined.seq, joined.has_members), (seq, true));
    }
    store.append(append("a", "ann", Quit, 4)).unwrap();
    assert_eq!(
        store.append(append("a", "ann", Chat, 5)),
        Err(StoreError::NotAMember)
    );
}

pub fn has_members_counts_those_who_are_there_after_the_append(new: Maker) {
    let mut store = fresh(new);
    assert!(
        !store
            .append(append("a", "ann", direct("bob"), 1))
            .unwrap()
            .has_members
    );
    assert!(
        store
            .append(append("a", "eve", Join, 2))
            .unwrap()
            .has_members
    );
    assert!(
        store
            .append(append("a", "ann", direct("bob"), 3))
            .unwrap()
            .has_members
    );
    assert!(
        !store
            .append(append("a", "eve", Quit, 4))
            .unwrap()
            .has_members
    );
    assert!(
        !store
            .append(append("a", "ann", direct("bob"), 5))
            .unwrap()
            .has_members
    );
}

pub fn a_range_brings_what_was_appended(new: Maker) {
    let mut store = fresh(new);
    let joined = store.append(append("a", "ann", Join, 1)).unwrap();
    store.append(append("a", "ann", Chat, 2)).unwrap();
    let entries = store.range("a", "ann", 0).unwrap();
    assert_eq!(seqs(&entries), [1, 2]);
    assert_eq!(&*entries.entries[1].payload, b"message 2");
    assert!(
        entries
            .entries
            .iter()
            .all(|entry| entry.epoch == joined.epoch)
    );
    assert_eq!(
        (entries.scanned_to, entries.head),
        (
            2,
            Head {
                epoch: joined.epoch,
                seq: 2
            }
        )
    );
    assert_eq!(seqs(&store.range("a", "ann", 1).unwrap()), [2]);
    let nothing = store.range("a", "ann", 2).unwrap();
    assert_eq!((nothing.entries.len(), nothing.scanned_to), (0, 2));
    let beyond = store.range("a", "ann", 99).unwrap();
    assert_eq!((beyond.entries.len(), beyond.scanned_to), (0, 2));
}

pub fn a_range_ends_at_its_limits_but_holds_at_least_one(new: Maker) {
    let mut store = fresh(new);
    store
        .append(append("a", "ann", Join, 1).payload(payload(100)))
        .unwrap();
    for number in 2..=10 {
        store
            .append(append("a", "ann", Chat, number).payload(payload(100)))
            .unwrap();
    }
    let by_count = store.range_within("a", "ann", 2, 3, usize::MAX).unwrap();
    assert_eq!(
        (seqs(&by_count), by_count.scanned_to, by_count.head.seq),
        (vec![3, 4, 5], 5, 10)
    );
    let by_bytes = store.range_within("a", "ann", 2, 100, 250).unwrap();
    assert_eq!((seqs(&by_bytes), by_bytes.scanned_to), (vec![3, 4], 4));
    let exactly = store.range_within("a", "ann", 2, 100, 300).unwrap();
    assert_eq!(seqs(&exactly), [3, 4, 5]);
    let too_large = store.range_within("a", "ann", 2, 100, 1).unwrap();
    assert_eq!((seqs(&too_large), too_large.scanned_to), (vec![3], 3));
}

pub fn a_range_is_for_members_and_parties_only(new: Maker) {
    let mut store = fresh(new);
    assert_eq!(
        store.range("a", "ann", 0).unwrap_err(),
        StoreError::NotAMember
    );
    store.append(append("a", "ann", Join, 1)).unwrap();
    assert_eq!(
        store.range("a", "bob", 0).unwrap_err(),
        StoreError::NotAMember
    );
    store.append(append("a", "ann", Quit, 2)).unwrap();
    assert_eq!(
        store.range("a", "ann", 0).unwrap_err(),
        StoreError::NotAMember
    );
}

pub fn a_direct_message_is_read_by_the_two_alone(new: Maker) {
    let mut store = fresh(new);
    store.append(append("a", "eve", Join, 1)).unwrap();
    store.append(append("a", "ann", direct("bob"), 2)).unwrap();
    store.append(append("a", "eve", Chat, 3)).unwrap();
    store.append(append("a", "bob", direct("ann"), 4)).unwrap();
    for reader in ["ann", "bob"] {
        let read = store.range("a", reader, 0).unwrap();
        assert_eq!(
            (seqs(&read), read.scanned_to),
            (vec![2, 4], 4),
            "{reader} is no member"
        );
    }
    let read = store.range("a", "eve", 0).unwrap();
    assert_eq!(
        (seqs(&read), read.scanned_to),
        (vec![1, 3], 4),
        "a member is no party"
    );
    store.append(append("a", "ann", Join, 5)).unwrap();
    assert_eq!(
        seqs(&store.range("a", "ann", 0).unwrap()),
        [1, 2, 3, 4, 5],
        "both"
    );
    store.append(append("a", "zoe", direct("zoe"), 6)).unwrap();
    assert_eq!(
        seqs(&store.range("a", "zoe", 0).unwrap()),
        [6],
        "a note to oneself"
    );
}

/// With more pairs than any engine remembers of one box.
pub fn pairs_who_take_turns_in_a_box_each_read_their_own(new: Maker) {
    const PAIRS: u64 = 6;
    let mut store = fresh(new);
    for number in 1..=2 * PAIRS {
        let pair = number % PAIRS;
        let receiver = direct(&format!("to {pair}"));
        let message = append("a", &format!("from {pair}"), receiver, number);
        assert_eq!(store.append(message).unwrap().seq, number);
    }
    for pair in 0..PAIRS {
        let first = if pair == 0 { PAIRS } else { pair };
        for party in [format!("from {pair}"), format!("to {pair}")] {
            let entries = store.range("a", &party, 0).unwrap();
            assert_eq!(seqs(&entries), [first, first + PAIRS], "{party}");
            assert_eq!(store.boxes(&party).len(), 1, "{party}");
        }
    }
}

pub fn a_name_that_begins_like_anothers_reads_nothing_of_it(new: Maker) {
    let mut store = fresh(new);
    store.append(append("a", "ann", direct("bob"), 1)).unwrap();
    store.append(append("a", "an", direct("nbob"), 2)).unwrap();
    assert_eq!(seqs(&store.range("a", "bob", 0).unwrap()), [1]);
    assert_eq!(seqs(&store.range("a", "an", 0).unwrap()), [2]);
    assert_eq!(store.boxes("b"), []);
    store.append(append("aa", "an", Join, 3)).unwrap();
    assert_eq!(store.boxes("a"), []);
    assert_eq!(store.boxes("an").len(), 2);
}

pub fn a_long_run_of_other_peoples_messages_is_read_past_in_steps(new: Maker) {
    let mut store = fresh(new);
    store.append(append("a", "eve", Join, 1)).unwrap();
    let run = (0..RANGE_SCAN_MAX + 10).map(|number| append("a", "ann", direct("bob"), number));
    assert!(
        store
            .run(run.map(Command::Append).collect())
            .iter()
            .all(Result::is_ok)
    );
    let step = store.range("a", "eve", 1).unwrap();
    assert_eq!(
        (step.entries.len(), step.scanned_to),
        (0, 1 + RANGE_SCAN_MAX)
    );
    let rest = store.range("a", "eve", step.scanned_to).unwrap();
    assert_eq!((rest.entries.len(), rest.scanned_to), (0, rest.head.seq));
}

pub fn the_list_has_joined_and_direct_boxes_with_marks_and_heads(new: Maker) {
    let mut store = fresh(new);
    assert_eq!(store.boxes("ann"), []);
    store.append(append("a", "ann", Join, 1)).unwrap();
    store.append(append("b", "bob", direct("ann"), 2)).unwrap();
    store.append(append("c", "ann", Join, 3)).unwrap();
    store.append(append("c", "bob", direct("ann"), 4)).unwrap();
    store.append(append("d", "bob", Join, 5)).unwrap();
    store.mark("c", "ann", 2, 1).unwrap();
    let listed = |states: Vec<newim_proto::log::BoxState>| -> Vec<(String, u64, u64, u64, bool)> {
        let row = |s: newim_proto::log::BoxState| {
            (
                s.boxid.to_string(),
                s.head.seq,
                s.delivered,
                s.read,
                s.joined,
            )
        };
        states.into_iter().map(row).collect()
    };
    let boxes = listed(store.boxes("ann"));
    assert_eq!(
        boxes,
        [
            ("a".into(), 1, 0, 0, true),
            ("b".into(), 1, 0, 0, false),
            ("c".into(), 2, 2, 1, true)
        ]
    );
    store.append(append("a", "ann", Quit, 6)).unwrap();
    store.append(append("c", "ann", Quit, 7)).unwrap();
    let boxes = listed(store.boxes("ann"));
    assert_eq!(
        boxes,
        [("b".into(), 1, 0, 0, false), ("c".into(), 3, 2, 1, false)]
    );
    assert_eq!(listed(store.boxes("bob")).len(), 3);
}

pub fn marks_go_forward_only(new: Maker) {
    let mut store = fresh(new);
    let epoch = store.append(append("a", "ann", Join, 1)).unwrap().epoch;
    for number in 2..=5 {
        store.append(append("a", "ann", Chat, number)).unwrap();
    }
    let marks = |store: &mut Box<dyn Subject>| {
        let state = store.boxes("ann").remove(0);
        (state.delivered, state.read)
    };
    assert_eq!(store.mark("a", "ann", 4, 2), Ok(Head { epoch, seq: 5 }));
    assert_eq!(marks(&mut store), (4, 2));
    store.mark("a", "ann", 3, 3).unwrap();
    assert_eq!(marks(&mut store), (4, 3), "each on its own, and never back");
    assert_eq!(
        store.mark("a", "ann", 6, 3),
        Err(StoreError::BadSeq { head: 5 })
    );
    assert_eq!(
        store.mark("a", "ann", 5, 6),
        Err(StoreError::BadSeq { head: 5 })
    );
    assert_eq!(marks(&mut store), (4, 3), "a refused mark moves nothing");
    assert_eq!(
        store.mark_in_epoch("a", "ann", Some(epoch - 1), 5, 5),
        Ok(Head { epoch, seq: 5 })
    );
    assert_eq!(marks(&mut store), (4, 3), "of an older epoch: ignored");
    let ahead = store.mark_in_epoch("a", "ann", Some(epoch + 1), 5, 5);
    assert_eq!(
        ahead,
        Err(StoreError::BadSeq { head: 5 }),
        "of an epoch that is not there yet"
    );
    store.mark_in_epoch("a", "ann", Some(epoch), 5, 5).unwrap();
    assert_eq!(marks(&mut store), (5, 5));
}

pub fn marks_are_for_members_and_parties_only(new: Maker) {
    let mut store = fresh(new);
    assert_eq!(store.mark("a", "ann", 0, 0), Err(StoreError::NotAMember));
    store.append(append("a", "bob", direct("ann"), 1)).unwrap();
    store.mark("a", "ann", 1, 1).unwrap();
    assert_eq!(store.mark("a", "eve", 1, 1), Err(StoreError::NotAMember));
}

pub fn heads_come_in_the_order_asked_with_zeros_for_unknown_boxes(new: Maker) {
    let mut store = fresh(new);
    let epoch = store.append(append("b", "ann", Join, 1)).unwrap().epoch;
    let head = Head { epoch, seq: 1 };
    assert_eq!(
        store.heads(&["x", "b", "y", "b"]),
        [Head::default(), head, Head::default(), head]
    );
    assert_eq!(store.heads(&[]), []);
}

pub fn facts_are_the_head_and_who_is_in_the_box_whoever_asks(new: Maker) {
    let mut store = fresh(new);
    assert_eq!(store.facts("a"), BoxFacts::default());
    for (number, name) in ["ann", "bob", "ann", "cas"].into_iter().enumerate() {
        store
            .append(append("a", name, Join, number as u64))
            .unwrap();
    }
    store.append(append("a", "bob", Quit, 10)).unwrap();
    store.append(append("a", "eve", direct("ann"), 11)).unwrap();
    let facts = store.facts("a");
    assert_eq!((facts.head.seq, facts.members), (6, 2));
    assert_eq!(facts.head, store.heads(&["a"])[0]);
}

pub fn the_oldest_go_beyond_the_count_that_is_kept(new: Maker) {
    let retention = RetentionPolicy {
        messages_max: 5,
        ..RetentionPolicy::default()
    };
    let mut store = new(StoreSettings {
        retention,
        ..StoreSettings::default()
    });
    store.append(append("a", "ann", Join, 1)).unwrap();
    for number in 2..=500 {
        assert_eq!(
            store.append(append("a", "ann", Chat, number)).unwrap().seq,
            number
        );
        let floor = number.saturating_sub(5);
        if number % 50 == 0 {
            let read = store.range("a", "ann", 0).unwrap();
            assert_eq!(seqs(&read), (floor + 1..=number).collect::<Vec<_>>());
        }
    }
}

pub fn the_oldest_go_beyond_the_age_that_is_kept(new: Maker) {
    let retention = RetentionPolicy {
        age_ms_max: 1000,
        ..RetentionPolicy::default()
    };
    let mut store = new(StoreSettings {
        retention,
        ..StoreSettings::default()
    });
    store.append(append("a", "ann", Join, 0)).unwrap();
    store.append(append("a", "ann", Chat, 500)).unwrap();
    store.append(append("a", "ann", Chat, 999)).unwrap();
    assert_eq!(seqs(&store.range("a", "ann", 0).unwrap()), [1, 2, 3]);
    store.append(append("a", "ann", Chat, 1000)).unwrap();
    assert_eq!(seqs(&store.range("a", "ann", 0).unwrap()), [2, 3, 4]);
    store.append(append("a", "ann", Chat, 1999)).unwrap();
    assert_eq!(seqs(&store.range("a", "ann", 0).unwrap()), [4, 5]);
    store.append(append("a", "ann", Chat, 50_000)).unwrap();
    let read = store.range("a", "ann", 0).unwrap();
    assert_eq!(
        (seqs(&read), read.scanned_to),
        (vec![6], 6),
        "seqs go on, whatever was dropped"
    );
}

pub fn a_message_of_64_kib_comes_back_whole(new: Maker) {
    let mut store = fresh(new);
    store.append(append("a", "ann", Join, 1)).unwrap();
    let large = payload(64 * 1024);
    store
        .append(append("a", "ann", Chat, 2).payload(large.clone()))
        .unwrap();
    store
        .append(append("a", "ann", Chat, 3).payload(Vec::new()))
        .unwrap();
    let read = store.range("a", "ann", 1).unwrap();
    assert_eq!(*read.entries[0].payload, large);
    assert!(read.entries[1].payload.is_empty());
}

pub fn names_may_hold_any_printable_character(new: Maker) {
    let mut store = fresh(new);
    let long = "x".repeat(128);
    let names = [
        "{",
        "}",
        "{}",
        "a}b{c",
        ":",
        "b:",
        " ",
        "a b",
        "привет",
        "🦀{🦀}",
        "*?[]\\",
        "\"';--",
        &long,
    ];
    for (number, name) in names.into_iter().enumerate() {
        let joined = store
            .append(append(name, name, Join, number as u64).client_id(name))
            .unwrap();
        assert_eq!((joined.seq, joined.duplicate), (1, false), "{name}");
        store
            .append(append(name, name, direct("{}"), 100 + number as u64))
            .unwrap();
        store.mark(name, name, 2, 1).unwrap();
    }
    for name in names {
        assert_eq!(seqs(&store.range(name, name, 0).unwrap()), [1, 2], "{name}");
        let state = store
            .boxes(name)
            .into_iter()
            .find(|state| state.boxid.as_str() == name)
            .unwrap();
        assert_eq!(
            (state.head.seq, state.delivered, state.read, state.joined),
            (2, 2, 1, true),
            "{name}"
        );
    }
    assert_eq!(store.boxes("{}").len(), names.len());
}

pub fn a_user_joins_no_more_boxes_than_the_bound(new: Maker) {
    let mut store = new(StoreSettings {
        boxes_per_user_max: 3,
        ..StoreSettings::default()
    });
    for number in 0..3 {
        store
            .append(append(&format!("box {number}"), "ann", Join, number))
            .unwrap();
    }
    assert_eq!(
        store.append(append("one more", "ann", Join, 3)),
        Err(StoreError::TooManyBoxes)
    );
    assert_eq!(store.heads(&["one more"]), [Head::default()]);
    store
        .append(append("box 0", "ann", Join, 4))
        .expect("is a member of that one already");
    store.append(append("box 0", "ann", Quit, 5)).unwrap();
    store
        .append(append("one more", "ann", Join, 6))
        .expect("there is room again");
    store
        .append(append("one more", "bob", Join, 7))
        .expect("others have room of their own");
}

pub fn a_user_is_listed_with_no_more_direct_boxes_than_the_bound(new: Maker) {
    let mut store = new(StoreSettings {
        boxes_per_user_max: 2,
        ..StoreSettings::default()
    });
    store.append(append("a", "ann", direct("bob"), 1)).unwrap();
    store.append(append("b", "eve", direct("bob"), 2)).unwrap();
    assert_eq!(
        store.append(append("c", "joe", direct("bob"), 3)),
        Err(StoreError::TooManyBoxes)
    );
    assert_eq!(
        store.append(append("c", "bob", direct("joe"), 4)),
        Err(StoreError::TooManyBoxes)
    );
    store
        .append(append("b", "bob", direct("eve"), 5))
        .expect("is listed already");
    assert_eq!(store.boxes("bob").len(), 2);
    assert_eq!(store.boxes("joe"), [], "listed, but nothing was appended");
}

pub fn commands_of_one_batch_see_those_before_them(new: Maker) {
    let mut store = fresh(new);
    let range = || {
        let (boxid, reader) = (boxid("a"), uid("ann"));
        Command::Range(Range {
            boxid,
            reader,
            after: 0,
            messages_max: 10,
            bytes_max: usize::MAX,
        })
    };
    let results = store.run(vec![
        Command::Append(append("a", "ann", Chat, 1)),
        Command::Append(append("a", "ann", Join, 2)),
        Command::Append(append("a", "ann", Chat, 3)),
        range(),
        Command::Append(append("a", "ann", Chat, 4)),
        Command::Append(append("a", "bob", direct("ann"), 5)),
        range(),
        Command::Boxes(uid("bob")),
        Command::Append(append("a", "ann", Quit, 6)),
        Command::Append(append("a", "ann", Chat, 7)),
        Command::Heads(vec![boxid("a")]),
    ]);
    let read = |at: usize| match &results[at] {
        Ok(Reply::Entries(entries)) => seqs(entries),
        other => panic!("{other:?}"),
    };
    assert!(matches!(results[0], Err(StoreError::NotAMember)));
    assert_eq!(read(3), [1, 2]);
    assert_eq!(read(6), [1, 2, 3, 4]);
    assert!(matches!(&results[7], Ok(Reply::Boxes(boxes)) if boxes.len() == 1 && !boxes[0].joined));
    assert!(results[8].is_ok());
    assert!(matches!(results[9], Err(StoreError::NotAMember)));
    assert!(matches!(&results[10], Ok(Reply::Heads(heads)) if heads[0].seq == 5));
}
