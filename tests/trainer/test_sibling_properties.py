"""What any implementation of the sibling methods must hold to, each with the tests that guard it.

SBAM and AMR (arXiv 2404.08327), RF-GAM (IMAGE, arXiv 2410.03161) and CFM-ViT (arXiv 2309.00775); the numbers go on from
those of `test_official_defects`. The tests live beside the code that they test, against a few plain lines each.
"""

from tests.trainer.guards import Guards, missing

SALIENCE, RATIOS = "trainer/masking/test_salience.py", "trainer/masking/test_ratios.py"
COUNTS, FIELD = "trainer/masking/test_protocol.py", "trainer/masking/test_gaussian_field.py"
ATTENTION, HIDING = "trainer/masking/test_attention.py", "trainer/objectives/test_hiding.py"
CONTRAST, CFM = "trainer/test_contrast.py", "trainer/objectives/test_cfm.py"
ENCODER, DUAL = "trainer/models/vit/test_encoder.py", "trainer/models/vit/test_dual.py"
FUSION = "annotators/test_score_fusion.py"

PROPERTIES: Guards = {
    "17 salience adds up to the patches, goes from 0 to 1, and is chance where all are alike": (
        (SALIENCE, "test_columns_add_up_to_the_number_of_patches_and_are_those_of_the_plain_lines"),
        (SALIENCE, "test_salience_goes_from_nothing_to_one"),
        (SALIENCE, "test_where_all_patches_are_alike_chance_decides_and_nothing_is_nan"),
    ),
    "18 no noise hides the most salient, some keeps pairs apart, much is random": (
        (SALIENCE, "test_without_noise_just_the_most_salient_are_hidden"),
        (SALIENCE, "test_a_patch_more_salient_by_the_noise_is_hidden_before_the_other"),
        (SALIENCE, "test_much_noise_is_random_masking"),
    ),
    "19 the number hidden is exact in every row, and lists go back to where they came from": (
        (COUNTS, "test_fractions_of_visible_patches_are_cut_off"),
        (COUNTS, "test_no_patch_is_lost_to_a_binary_digit"),
        (COUNTS, "test_the_highest_are_hidden_as_many_as_each_row_says"),
        (ENCODER, "test_lists_of_different_lengths_give_what_each_gives_alone"),
    ),
    "20 the adaptive ratio: ends, never falling, image and batch, something on either side": (
        (RATIOS, "test_the_ratio_goes_from_its_lower_to_its_upper_end"),
        (RATIOS, "test_more_salience_never_hides_less"),
        (RATIOS, "test_an_image_alone_is_a_batch_and_several_take_the_mean"),
        (RATIOS, "test_something_stays_visible_and_something_is_hidden_whatever_the_ratio"),
    ),
    "21 of cosines lengths play no part; one token that takes all is told": (
        (SALIENCE, "test_of_cosines_the_length_of_a_token_plays_no_part_and_of_products_it_does"),
        (SALIENCE, "test_the_published_form_ends_in_one_token_over_smooth_patches_and_the_default_does_not"),
    ),
    "22 the field: the double sum, its peak, symmetry and ends": (
        (FIELD, "test_the_field_is_the_double_sum"),
        (FIELD, "test_one_source_is_highest_at_its_place_symmetric_and_falls_with_the_distance"),
        (FIELD, "test_a_small_sigma_gives_the_patches_themselves_and_a_large_one_hides_all_alike"),
    ),
    "23 what stays falls from a half to nothing in a line": (
        (FIELD, "test_what_stays_visible_at_a_peak_falls_in_a_line_from_a_half_towards_nothing"),
        (HIDING, "test_features_keep_a_half_where_they_are_hidden_at_first_and_nothing_at_last"),
    ),
    "24 the ratio of each level is exact and rises; nothing is hidden from a trained model": (
        (HIDING, "test_the_ratio_of_each_level_is_exact_and_rises_with_the_level_and_the_training"),
        (HIDING, "test_nothing_is_hidden_from_what_does_not_train"),
        ("trainer/objectives/test_hiding_runs.py", "test_a_trained_model_meets_the_features_as_they_are"),
    ),
    "25 importance is that of columns": (
        (ATTENTION, "test_importance_is_the_mean_of_a_column_and_not_of_a_row"),
    ),
    "26 the contrast: symmetric, log B of features that say nothing, exact over processes": (
        (CONTRAST, "test_each_sample_pays_what_the_formula_says_and_exchanging_the_sides_changes_nothing"),
        (CONTRAST, "test_features_that_say_nothing_pay_the_logarithm_of_the_batch"),
        (CONTRAST, "test_a_part_of_the_batch_pays_what_it_pays_in_the_whole"),
        ("trainer/test_pretrain.py", "test_two_processes_give_the_encoder_of_one"),
    ),
    "27 the reconstruction: 0, 1 and 2, any length, no gradient to its target, hidden patches only": (
        (CFM, "test_the_same_direction_costs_nothing_a_right_angle_one_and_the_opposite_two"),
        (CFM, "test_no_gradient_reaches_what_is_to_be_predicted"),
        (CFM, "test_what_is_reconstructed_costs_what_the_plain_lines_say_and_pulls_as_they_do"),
    ),
    "28 positions: dropped whole, never at 0 or in evaluation; without them patches are a bag": (
        (CFM, "test_positions_are_dropped_for_whole_samples_once_for_both_branches"),
        (CFM, "test_no_position_is_dropped_at_zero_or_in_evaluation_and_every_one_at_one"),
        (DUAL, "test_shuffled_patches_without_positions_are_the_same_image"),
        (ENCODER, "test_without_positions_patches_are_a_bag"),
    ),
    "29 both branches are disjoint and make up the grid": (
        (CFM, "test_what_the_branches_see_is_disjoint_and_makes_up_the_grid"),
        (CFM, "test_both_branches_together_see_every_patch_once"),
    ),
    "30 fused scores: both ends, adding up to one, the background, never falling": (
        (FUSION, "test_it_is_the_formula"),
        (FUSION, "test_without_the_encoder_it_is_the_detector"),
        (FUSION, "test_with_the_encoder_alone_it_is_the_encoder_except_for_the_background"),
        (FUSION, "test_the_encoder_has_no_say_in_the_background_before_the_row_is_divided"),
        (FUSION, "test_more_from_either_is_more_of_that_class"),
    ),
}  # fmt: skip


def test_every_guard_is_there():
    found = list(missing(PROPERTIES))
    assert not found, "\n".join(found)


def test_properties_17_to_30_are_listed():
    assert [int(what.split()[0]) for what in PROPERTIES] == list(range(17, 31))
