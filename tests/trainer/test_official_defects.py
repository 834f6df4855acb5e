"""What the official code of IVM (arXiv 2405.19783) gets wrong or loses, and the test that keeps it from happening here.

A reader sees all of it in one place: `DEFECTS` says what was found in the released code, `PROPERTIES` what any
implementation must hold to, each with the tests that guard it. The tests live beside the code that they test; here it
is only checked that they are there. What has no guard is not in the list.
"""

import pytest

from tests.trainer.guards import Guards, missing

LOSSES, WEIGHTING = "trainer/test_losses.py", "trainer/weighting/test_dwsl.py"
LIGHT, COMPOSITE = (
    "trainer/models/tiny/test_discriminator.py",
    "trainer/models/ivm/test_composite.py",
)
BASE, DECODER = "trainer/models/base/test_model.py", "trainer/models/base/test_mask_decoder.py"
LLAVA, NAMES = "trainer/models/ivm/test_llava.py", "trainer/models/ivm/test_names.py"
EFFECTS, PREDICTOR = "trainer/use/test_effects.py", "trainer/use/test_predictor.py"
READER, GREY = "pipeline/sources/test_ivm_mix.py", "pipeline/intake/test_grey_masks.py"
SQUARE, REGIONS = "annotators/chat/test_square.py", "annotators/sam/test_clip_regions.py"
SQUASH, LOOP = "trainer/data/test_squash.py", "trainer/engine/test_loop.py"

DEFECTS: Guards = {
    # DWSL and its discriminator
    "weights (B, 1) times losses (B,) broadcast to (B, B): the weighting vanishes": (
        (LOSSES, "test_a_column_of_weights_is_refused_because_it_would_average_the_weighting_away"),
    ),
    "the released loss ignores its weights": (
        ("trainer/weighting/test_every_method.py", "test_machine_labels_weighed_otherwise_give_another_model"),
        (LOOP, "test_the_gradient_is_that_of_the_weighted_mean"),
    ),
    "the discriminator downsamples the mask and never uses it": (
        (LIGHT, "test_the_verdict_changes_with_the_mask_and_is_not_constant"),
        (LIGHT, "test_the_verdict_sees_a_mask_even_where_it_does_not_touch_the_overlap_numbers"),
        (BASE, "test_the_light_discriminator_sees_the_mask_the_image_and_the_text"),
        (COMPOSITE, "test_the_verdict_depends_on_mask_image_and_text"),
    ),
    "its position table is half precision and crashes beside float32": (
        (DECODER, "test_places_are_float32_under_autocast"),
    ),
    "a soft mask is composited by reading floats as bytes": (
        (COMPOSITE, "test_a_half_mask_is_not_read_as_bytes"),
        (COMPOSITE, "test_soft_masks_mix_as_numbers_and_equal_the_overlay_effect"),
    ),
    "generator and discriminator share one adapter": (
        (COMPOSITE, "test_generator_and_discriminator_share_what_is_frozen_and_train_apart"),
        (LLAVA, "test_twins_share_every_frozen_parameter_and_no_adapter"),
    ),
    "the discriminator's loss trains the generator through inputs that are not detached": (
        (LIGHT, "test_the_discriminators_verdict_gives_no_gradient_to_its_guesser"),
    ),
    "dice of an empty target is a cliff": (
        (LOSSES, "test_dice_of_an_empty_target_falls_smoothly_as_the_prediction_empties"),
    ),
    # the reader of IVM-Mix-1M, and the experts
    "a mask of zeros becomes NaN by min-max": (
        (READER, "test_a_mask_of_zeros_is_an_empty_label_and_an_empty_gold"),
        (GREY, "test_a_mask_of_one_level_stays_that_level_and_is_never_stretched"),
    ),
    "min-max for each image: one expert of three looks like all three": (
        (READER, "test_two_masks_of_different_agreement_do_not_end_alike"),
    ),
    "a crop can leave an empty target": (
        (SQUASH, "test_a_target_that_leaves_the_frame_gives_a_finite_loss_that_falls_to_nothing"),
    ),
    "random.choice on a plain string draws a letter": (
        (READER, "test_a_single_text_is_one_phrasing_and_not_its_letters"),
    ),
    "a bare except goes on to another sample in silence": (
        (READER, "test_a_bad_line_is_one_reject_and_never_the_next_line_instead"),
    ),
    "boxes of the padded square are scaled by width and height": (
        (SQUARE, "test_scaling_by_width_and_height_gives_another_box"),
    ),
    "min-max over one segment divides by zero": (
        (REGIONS, "test_a_single_region_divides_by_nothing"),
    ),
    # use
    "the fallback misses a maximum equal to the threshold, and a map of zeros": (
        (EFFECTS, "test_nothing_above_the_threshold_fails_open_and_says_so"),
    ),
    "the box of an empty mask raises": (
        (EFFECTS, "test_the_crop_is_never_empty"),
    ),
    "only the first image of a batch decides ratio and box": (
        (PREDICTOR, "test_a_batch_of_mixed_sizes_gives_single_calls_to_the_bit"),
    ),
    "overlay and blur show different amounts where the mask is 1": (
        (EFFECTS, "test_effects_agree_where_the_mask_is_one_and_differ_where_it_is_zero"),
    ),
    "weights are loaded with strict=False, so a random position table goes unnoticed": (
        (DECODER, "test_the_places_of_the_image_are_part_of_what_is_saved"),
        (NAMES, "test_every_disagreement_is_in_one_message_and_changes_nothing"),
    ),
    "the token at position -2 depends on the padding of the batch": (
        (LLAVA, "test_a_batch_equals_single_calls_wherever_its_padding_is"),
    ),
    "mask augmentation composites the raw mask; the thresholded and dilated one is thrown away": (
        (EFFECTS, "test_visibility_is_dilation_then_blur_of_the_release"),
    ),
}  # fmt: skip

PROPERTIES: Guards = {
    "1 per-sample weights and losses are not averaged apart": (
        (LOSSES, "test_a_column_of_weights_is_refused_because_it_would_average_the_weighting_away"),
    ),
    "2 stop-gradient between the discriminator and the mask loss, both ways": (
        (LIGHT, "test_stage_two_gives_no_gradient_to_the_discriminator"),
        (LIGHT, "test_the_discriminators_verdict_gives_no_gradient_to_its_guesser"),
        (LOSSES, "test_no_gradient_flows_into_the_weights"),
    ),
    "3 f never falls, is finite, and takes its published values": (
        (WEIGHTING, "test_f_never_falls_and_stays_finite_from_zero_to_one"),
        (WEIGHTING, "test_f_at_the_published_points"),
        (LOSSES, "test_weights_of_one_give_the_plain_mean_bit_for_bit"),
    ),
    "4 sum(w L) / sum(w), and no weight at all gives no NaN": (
        (LOSSES, "test_no_weight_at_all_gives_zero_loss_and_zero_gradient"),
        (LOOP, "test_a_step_without_any_weight_changes_nothing_and_is_no_bad_step"),
    ),
    "5 DWBC's weight of an expert is positive": (
        (WEIGHTING, "test_dwbc_gives_experts_a_positive_weight_everywhere_and_its_published_values"),
    ),
    "6 the PU loss is least at the share of good labels, and its clamp": (
        (LOSSES, "test_pu_is_least_where_d_is_the_probability_that_a_machine_label_is_good"),
        (LOSSES, "test_the_clamp_stops_the_risk_of_the_bad_part_from_falling_below_zero"),
    ),
    "7 the optimal discriminator is the posterior, its odds the density ratio": (
        (LOSSES, "test_plain_bce_is_least_at_the_posterior_and_its_odds_are_the_density_ratio"),
    ),
    "8 the verdict changes with the mask; planted wrong labels score lower": (
        (LIGHT, "test_the_verdict_changes_with_the_mask_and_is_not_constant"),
        ("trainer/test_discriminate.py", "test_planted_wrong_labels_are_found_out_of_sample"),
        (COMPOSITE, "test_steps_teach_it_to_tell_masks_apart"),
    ),
    "9 white compositing is exact for hard masks and img H + 255 (1 - H) for soft ones": (
        (EFFECTS, "test_soft_masks_are_composited_exactly"),
        (EFFECTS, "test_compose_is_exact_at_both_ends"),
        (COMPOSITE, "test_compositing_is_exact_for_hard_masks"),
        (COMPOSITE, "test_soft_masks_mix_as_numbers_and_equal_the_overlay_effect"),
    ),
    "10 BCE is least at p = H; with Dice biased; an empty target is no cliff; no NaN": (
        (LOSSES, "test_bce_is_least_where_the_prediction_equals_a_soft_target"),
        (LOSSES, "test_bce_plus_dice_is_biased_towards_saturation_for_a_soft_target"),
        (LOSSES, "test_dice_of_an_empty_target_falls_smoothly_as_the_prediction_empties"),
    ),
    "11 grey levels 0, 85, 170, 255 become 0, 128, 255, 255 on request; JPEG within a tolerance": (
        (GREY, "test_one_and_a_half_times_agreement_saturates_at_two_of_three_and_leaves_the_input"),
        (READER, "test_saturation_is_the_reader_s_and_only_on_request"),
        (READER, "test_machine_masks_keep_the_level_of_agreement_as_it_is"),
        (GREY, "test_a_jpeg_keeps_levels_on_average_and_the_region_almost_to_the_pixel"),
        (GREY, "test_run_lengths_keep_the_region_to_the_pixel"),
    ),
    "12 boxes leave the padded square; masks leave the squashed frame": (
        (SQUARE, "test_a_box_of_the_square_is_found_in_the_photograph"),
        (SQUASH, "test_a_mask_that_is_squashed_and_stretched_is_where_it_was"),
    ),
    "13 one region divides by nothing": (
        (REGIONS, "test_a_single_region_divides_by_nothing"),
    ),
    "14 effects: identity, fail open, the release's box, monotone, never empty, odd inputs": (
        (EFFECTS, "test_a_mask_of_ones_is_the_identity"),
        (EFFECTS, "test_nothing_above_the_threshold_fails_open_and_says_so"),
        (EFFECTS, "test_one_pixel_gives_the_box_of_the_release"),
        (EFFECTS, "test_a_higher_threshold_never_shows_more"),
        (EFFECTS, "test_the_crop_is_never_empty"),
        (EFFECTS, "test_grey_and_non_contiguous_images_are_taken_and_left_alone"),
        (EFFECTS, "test_inputs_of_another_kind_are_refused_with_what_to_do"),
    ),
    "15 a batch gives what its samples give alone": (
        (PREDICTOR, "test_a_batch_of_mixed_sizes_gives_single_calls_to_the_bit"),
        ("trainer/models/tiny/test_segmenter.py", "test_a_batch_with_padding_gives_what_its_samples_give_alone"),
        (BASE, "test_a_batch_gives_what_its_samples_give_alone"),
        ("trainer/models/ivm/test_model.py", "test_a_batch_gives_what_its_samples_give_alone"),
        (LLAVA, "test_a_batch_equals_single_calls_wherever_its_padding_is"),
        (COMPOSITE, "test_a_batch_of_verdicts_equals_single_ones_and_looks_can_be_picked"),
    ),
    "16 the reference configuration trains 16,614,784 parameters": (
        ("trainer/models/ivm/test_model.py", "test_the_published_configuration_trains_16614784_parameters"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("guards", [DEFECTS, PROPERTIES], ids=["defects", "properties"])
def test_every_guard_is_there(guards: Guards):
    found = list(missing(guards))
    assert not found, "\n".join(found)


def test_all_sixteen_properties_are_listed():
    assert [int(what.split()[0]) for what in PROPERTIES] == list(range(1, 17))
