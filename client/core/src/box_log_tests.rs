//! Behaviours of one box, message by message.

use super::*;

/// A log in step with its box, at epoch 1.
fn settled_at(mark: u64) -> BoxLog<()> {
    let mut log = BoxLog::new(None, mark);
    log.begin_pull().unwrap();
    log.pull_ended(1, mark, mark, &mut Vec::new());
    assert!(log.is_settled());
    log
}

fn take(log: &mut BoxLog<()>, epoch: u64, seq: u64) -> Vec<String> {
    let mut out = Vec::new();
    log.take(epoch, seq, (), &mut out);
    bodies(out)
}

fn end(log: &mut BoxLog<()>, epoch: u64, head: u64, read_to: u64) -> Vec<String> {
    let mut out = Vec::new();
    log.pull_ended(epoch, head, read_to, &mut out);
    bodies(out)
}

fn bodies(applied: Vec<Applied<()>>) -> Vec<String> {
    let name = |applied: &Applied<()>| format!("{}/{}", applied.epoch, applied.seq);
    applied.iter().map(name).collect()
}

#[test]
fn the_next_message_is_shown_and_a_known_one_is_not() {
    let mut log = settled_at(5);
    assert_eq!(take(&mut log, 1, 6), ["1/6"]);
    assert_eq!(take(&mut log, 1, 6), [""; 0]);
    assert_eq!(take(&mut log, 1, 5), [""; 0]);
    assert!(log.is_settled());
}

#[test]
fn a_gap_is_pulled_and_shown_in_order() {
    let mut log = settled_at(5);
    assert_eq!(take(&mut log, 1, 8), [""; 0]);
    assert_eq!(log.begin_pull(), Some((Some(1), 5)));
    assert_eq!(log.begin_pull(), None, "one at a time");
    assert_eq!(
        take(&mut log, 1, 6),
        [""; 0],
        "until the end it is not known what is skipped"
    );
    assert_eq!(take(&mut log, 1, 7), [""; 0]);
    assert_eq!(take(&mut log, 1, 9), [""; 0], "a push in between");
    assert_eq!(end(&mut log, 1, 8, 8), ["1/6", "1/7", "1/8", "1/9"]);
    assert!(log.is_settled());
}

#[test]
fn what_a_pull_leaves_out_is_not_waited_for() {
    let mut log = settled_at(5);
    log.head_is(1, 9);
    log.begin_pull().unwrap();
    take(&mut log, 1, 7);
    assert_eq!(end(&mut log, 1, 9, 9), ["1/7"]);
    assert_eq!((log.mark, log.is_settled()), (9, true));
}

#[test]
fn a_pull_that_ends_short_of_the_head_is_followed_by_another() {
    let mut log = settled_at(0);
    log.head_is(1, 4);
    log.begin_pull().unwrap();
    take(&mut log, 1, 1);
    take(&mut log, 1, 2);
    assert_eq!(end(&mut log, 1, 4, 2), ["1/1", "1/2"]);
    assert_eq!(log.begin_pull(), Some((Some(1), 2)));
}

#[test]
fn a_pull_without_progress_is_not_repeated_for_ever() {
    let mut log = settled_at(3);
    log.head_is(1, 9);
    log.begin_pull().unwrap();
    end(&mut log, 1, 9, 3);
    assert_eq!(log.begin_pull(), None);
    log.head_is(1, 10);
    assert!(log.begin_pull().is_some(), "news is a reason to ask again");
}

#[test]
fn a_new_epoch_that_only_goes_on_shows_what_is_new() {
    let mut log = settled_at(2);
    assert_eq!(take(&mut log, 7, 4), [""; 0], "it may have begun before 3");
    assert_eq!(log.begin_pull(), Some((Some(1), 2)));
    take(&mut log, 1, 3);
    take(&mut log, 7, 4);
    assert_eq!(end(&mut log, 7, 4, 4), [""; 0]);
    assert_eq!(log.begin_pull(), Some((Some(7), 0)), "from the beginning");
    for (epoch, seq) in [(1, 1), (1, 2)] {
        take(&mut log, epoch, seq);
    }
    assert_eq!(end(&mut log, 7, 4, 2), [""; 0], "shown before");
    assert_eq!(log.begin_pull(), Some((Some(7), 2)));
    for (epoch, seq) in [(1, 3), (7, 4)] {
        take(&mut log, epoch, seq);
    }
    assert_eq!(end(&mut log, 7, 4, 4), ["1/3", "7/4"]);
    assert!(log.is_settled());
    assert_eq!(take(&mut log, 7, 5), ["7/5"]);
}

#[test]
fn a_new_epoch_over_lost_messages_shows_those_that_took_their_place() {
    let mut log = settled_at(5);
    // The server lost 4 and 5 and gave 4 away again.
    log.head_is(7, 4);
    assert_eq!(log.begin_pull(), Some((Some(1), 5)));
    assert_eq!(end(&mut log, 7, 4, 5), [""; 0]);
    assert_eq!(log.begin_pull(), Some((Some(7), 0)));
    for (epoch, seq) in [(1, 1), (1, 2), (1, 3), (7, 4)] {
        take(&mut log, epoch, seq);
    }
    assert_eq!(end(&mut log, 7, 4, 4), ["7/4"]);
    assert_eq!((log.mark, log.epoch), (4, Some(7)));
}

#[test]
fn an_epoch_never_goes_back() {
    let mut log = settled_at(5);
    log.epoch = Some(3);
    assert_eq!(take(&mut log, 1, 6), [""; 0]);
    assert_eq!(log.mark, 5);
    assert!(log.is_settled());
}

#[test]
fn history_of_several_epochs_is_shown_whole() {
    let mut log: BoxLog<()> = BoxLog::new(None, 0);
    log.begin_pull().unwrap();
    for (epoch, seq) in [(1, 1), (1, 2), (7, 3)] {
        take(&mut log, epoch, seq);
    }
    assert_eq!(end(&mut log, 7, 3, 3), ["1/1", "1/2", "7/3"]);
    assert_eq!(take(&mut log, 7, 4), ["7/4"]);
}

#[test]
fn a_lost_connection_pulls_again_from_the_mark() {
    let mut log = settled_at(5);
    take(&mut log, 1, 6);
    take(&mut log, 1, 9);
    log.begin_pull().unwrap();
    log.connection_lost();
    assert_eq!(log.begin_pull(), Some((Some(1), 6)));
}

#[test]
fn what_is_held_out_of_turn_is_bounded() {
    let mut log = settled_at(0);
    for seq in 2..(HELD_MAX as u64 + 100) {
        take(&mut log, 1, seq);
    }
    assert_eq!(log.held.len(), HELD_MAX);
    assert!(log.held.contains_key(&2), "the nearest are kept");
}

#[test]
fn the_server_is_told_the_mark_once() {
    let mut log = settled_at(5);
    log.tell_mark();
    assert_eq!(log.begin_pull(), None);
    take(&mut log, 1, 6);
    log.tell_mark();
    assert_eq!(log.begin_pull(), Some((Some(1), 6)));
    end(&mut log, 1, 6, 6);
    log.tell_mark();
    assert_eq!(log.begin_pull(), None);
}

#[test]
fn a_message_that_the_store_has_lost_is_not_waited_for() {
    let mut log = settled_at(5);
    assert_eq!(take(&mut log, 1, 9), [""; 0]);
    assert_eq!(log.begin_pull(), Some((Some(1), 5)));
    assert_eq!(end(&mut log, 1, 5, 5), [""; 0], "the store has no 9");
    assert_eq!(log.begin_pull(), None, "and none to ask for");
    assert_eq!(take(&mut log, 1, 6), ["1/6"]);
}

#[test]
fn a_message_that_comes_during_a_pull_is_asked_for_once_more() {
    let mut log = settled_at(5);
    log.head_is(1, 6);
    log.begin_pull().unwrap();
    take(&mut log, 1, 8); // perhaps stored after the pull was read
    take(&mut log, 1, 6);
    assert_eq!(end(&mut log, 1, 6, 6), ["1/6"]);
    assert_eq!(log.begin_pull(), Some((Some(1), 6)));
    assert_eq!(end(&mut log, 1, 6, 6), [""; 0]);
    assert_eq!(log.begin_pull(), None, "the second was read after it came");
}

#[test]
fn a_message_of_an_epoch_that_is_over_is_not_waited_for() {
    let mut log = settled_at(5);
    log.head_is(7, 6);
    log.begin_pull().unwrap();
    take(&mut log, 1, 9);
    assert_eq!(end(&mut log, 7, 6, 6), [""; 0]);
    log.begin_pull().unwrap();
    take(&mut log, 1, 9);
    (1..=5).for_each(|seq| drop(take(&mut log, 1, seq)));
    take(&mut log, 7, 6);
    assert_eq!(end(&mut log, 7, 6, 6), ["7/6"]);
    assert!(log.is_settled());
}

#[test]
fn word_of_a_new_epoch_during_a_pull_is_not_forgotten() {
    let mut log = settled_at(5);
    log.head_is(1, 6);
    log.begin_pull().unwrap();
    log.head_is(7, 4); // the server lost 5 and 6 after the pull was read
    take(&mut log, 1, 6);
    assert_eq!(end(&mut log, 1, 6, 6), ["1/6"]);
    assert_eq!(log.begin_pull(), Some((Some(1), 6)));
}

#[test]
fn what_was_dropped_for_want_of_room_is_pulled() {
    let mut log = settled_at(0);
    log.head_is(1, 1);
    log.begin_pull().unwrap();
    let last = HELD_MAX as u64 + 1;
    (1..=last).for_each(|seq| drop(take(&mut log, 1, seq)));
    assert_eq!(end(&mut log, 1, 1, 1).len(), HELD_MAX);
    assert_eq!(log.begin_pull(), Some((Some(1), last - 1)));
}

#[test]
fn a_box_that_loses_writes_again_while_it_is_read_shows_nothing_twice() {
    let mut log = settled_at(1);
    log.head_is(7, 3);
    log.begin_pull().unwrap();
    end(&mut log, 7, 3, 3);
    log.begin_pull().unwrap();
    [(1, 1), (7, 2)]
        .iter()
        .for_each(|(epoch, seq)| drop(take(&mut log, *epoch, *seq)));
    assert_eq!(end(&mut log, 7, 3, 2), ["1/1", "7/2"][1..]);
    log.begin_pull().unwrap();
    end(&mut log, 9, 3, 3);
    assert_eq!(log.begin_pull(), Some((Some(9), 0)));
    [(1, 1), (7, 2), (9, 3)]
        .iter()
        .for_each(|(epoch, seq)| drop(take(&mut log, *epoch, *seq)));
    assert_eq!(end(&mut log, 9, 3, 3), ["9/3"]);
    assert!(log.is_settled());
}

#[test]
fn a_guessed_beginning_moves_back_until_it_is_pulled_from() {
    let mut log: BoxLog<()> = BoxLog::guessed(9);
    take(&mut log, 1, 10);
    log.begin_no_later_than(3);
    log.begin_no_later_than(6);
    assert_eq!(log.begin_pull(), Some((None, 3)));
    log.begin_no_later_than(1);
    assert_eq!(log.position(), (None, 3));
}

#[test]
fn positions_at_the_end_of_their_range_are_only_numbers() {
    let mut log = settled_at(5);
    take(&mut log, 1, u64::MAX);
    log.begin_pull().unwrap();
    end(&mut log, 1, u64::MAX, u64::MAX);
    take(&mut log, 1, u64::MAX);
    take(&mut log, 1, 0);
    assert!(log.is_settled());
}

#[test]
fn what_is_pushed_in_a_new_epoch_beside_a_pull_is_applied_once() {
    let mut log: BoxLog<()> = BoxLog::new(None, 0);
    log.begin_pull().unwrap();
    take(&mut log, 2, 1); // 1/1, which nobody here may read, is lost, and this stands there now
    assert_eq!(end(&mut log, 1, 1, 1), [""; 0]);
    assert_eq!(log.begin_pull(), Some((Some(1), 1)));
    assert_eq!(end(&mut log, 2, 1, 1), [""; 0]);
    assert_eq!(log.begin_pull(), Some((Some(2), 0)));
    take(&mut log, 2, 1);
    assert_eq!(end(&mut log, 2, 1, 1), ["2/1"]);
    assert!(log.is_settled());
}

#[test]
fn a_late_copy_of_a_lost_message_is_not_applied_again() {
    let mut log = settled_at(0);
    assert_eq!(take(&mut log, 1, 1), ["1/1"]);
    log.tell_mark();
    log.begin_pull().unwrap();
    log.read_anew(); // refused: the mark is beyond the head
    log.pull_ended(1, 0, 0, &mut Vec::new()); // of the pull that was refused
    log.begin_pull().unwrap();
    end(&mut log, 1, 0, 0);
    assert_eq!(take(&mut log, 1, 1), [""; 0]);
    assert_eq!(take(&mut log, 7, 1), [""; 0]);
    log.begin_pull().unwrap();
    assert_eq!(end(&mut log, 7, 1, 0), [""; 0]);
}

#[test]
fn history_that_comes_after_a_refusal_counts_for_the_end_that_comes_later() {
    let mut log = settled_at(0);
    take(&mut log, 1, 1);
    log.head_is(2, 3);
    log.begin_pull().unwrap();
    end(&mut log, 2, 3, 1);
    log.begin_pull().unwrap(); // anew, in epoch 2
    log.pull_failed(); // the half that moves the mark; the other is on its way
    for (epoch, seq) in [(1, 1), (1, 2), (2, 3)] {
        take(&mut log, epoch, seq);
    }
    log.begin_pull().unwrap();
    assert_eq!(end(&mut log, 2, 3, 3), ["1/2", "2/3"]);
}

#[test]
fn an_end_that_is_taken_for_the_next_pull_loses_no_history() {
    let mut log = settled_at(0);
    take(&mut log, 1, 1);
    log.head_is(2, 4);
    log.begin_pull().unwrap();
    end(&mut log, 2, 4, 1);
    log.begin_pull().unwrap(); // anew, in epoch 2
    log.pull_failed(); // half of it: its end comes
    log.begin_pull().unwrap();
    take(&mut log, 1, 1);
    assert_eq!(end(&mut log, 2, 4, 1), [""; 0], "of the first");
    log.begin_pull().unwrap();
    take(&mut log, 1, 1);
    assert_eq!(
        end(&mut log, 2, 4, 1),
        [""; 0],
        "of the second: it seems to bring nothing"
    );
    for (epoch, seq) in [(1, 2), (1, 3), (2, 4)] {
        take(&mut log, epoch, seq);
    }
    assert_eq!(log.begin_pull(), Some((Some(2), 1)));
    assert_eq!(end(&mut log, 2, 4, 4), ["1/2", "1/3", "2/4"]);
}
