//! One suite for all engines (the model, the store on disk, a real Redis), and the tests of what can happen to
//! only one of them.

mod in_redis;
mod killed;
mod on_disk;
mod random;
mod redis_earlier;
mod redis_faults;
mod subject;
mod suite;

/// Each behaviour of the suite as a test of one engine.
macro_rules! conformance {
    ($engine:ident, $new:expr, [$($behaviour:ident),* $(,)?]) => {
        mod $engine {
            $(#[test]
            fn $behaviour() {
                crate::suite::$behaviour(&$new);
            })*
        }
    };
}

macro_rules! conformance_of {
    ($engine:ident, $new:expr) => {
        conformance!(
            $engine,
            $new,
            [
                seqs_are_contiguous_from_one_in_each_box_under_interleaving,
                a_new_box_counts_its_epoch_from_the_clock_and_keeps_it,
                the_same_client_id_gets_the_first_answer_again,
                a_duplicate_within_one_batch_is_told_as_well,
                the_same_client_id_with_another_payload_is_refused,
                client_ids_of_two_senders_or_two_boxes_are_apart,
                a_client_id_is_forgotten_after_the_window,
                a_client_id_is_remembered_for_the_window_whenever_it_came,
                a_duplicate_is_told_even_after_the_sender_left,
                only_members_chat_and_quit,
                a_join_is_appended_each_time,
                has_members_counts_those_who_are_there_after_the_append,
                a_range_brings_what_was_appended,
                a_range_ends_at_its_limits_but_holds_at_least_one,
                a_range_is_for_members_and_parties_only,
                a_direct_message_is_read_by_the_two_alone,
                a_name_that_begins_like_anothers_reads_nothing_of_it,
                pairs_who_take_turns_in_a_box_each_read_their_own,
                a_long_run_of_other_peoples_messages_is_read_past_in_steps,
                the_list_has_joined_and_direct_boxes_with_marks_and_heads,
                marks_go_forward_only,
                marks_are_for_members_and_parties_only,
                heads_come_in_the_order_asked_with_zeros_for_unknown_boxes,
                facts_are_the_head_and_who_is_in_the_box_whoever_asks,
                the_oldest_go_beyond_the_count_that_is_kept,
                the_oldest_go_beyond_the_age_that_is_kept,
                a_message_of_64_kib_comes_back_whole,
                names_may_hold_any_printable_character,
                a_user_joins_no_more_boxes_than_the_bound,
                a_user_is_listed_with_no_more_direct_boxes_than_the_bound,
                commands_of_one_batch_see_those_before_them,
            ]
        );
    };
}

conformance_of!(model, |settings| Box::new(newim_store::model::Model::new(
    settings
)));
conformance_of!(embedded, |settings| Box::new(crate::on_disk::OnDisk::new(
    settings
)));
conformance_of!(redis, |settings| Box::new(crate::in_redis::InRedis::new(
    settings
)));
conformance_of!(redis_byte_by_byte, |settings| Box::new(
    crate::in_redis::InRedis::in_bytes(settings)
));
