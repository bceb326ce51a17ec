-- One row per way in which what is measured or drawn here differs from the paper's, in order.
-- `figures.note` has those of a figure, a line each. The paper's text, its authors' code and this
-- measurement are three things: a note says which of the first two it speaks of.
with

told as (
    select
        *,
        row_number() over () as place
    from (
        values
            (
                ['2', '20', '21', '22'],
                'The shaded zone says only that the logit falls by less than the direct '
                || 'effect, not that the direct effect was removed: a head whose ablation '
                || 'removes little of it lies there too.'
            ),
            (
                ['20', '21', '22'],
                'Drawn as figure 2, whose notes hold here too.'
            ),
            (
                ['2'],
                'The authors'' script drops rows whose direct effect is exactly 0 and takes '
                || '100,000 tokens (the caption says 1M); here every row of the run counts.'
            ),
            (
                ['3'],
                'The same 5,000 positions of a run for every head, in sequences of the run''s '
                || 'length; the paper takes 5,000 tokens, its authors in sequences of 100.'
            ),
            (
                ['4', '17', '18'],
                'The authors draw sequences of 200 tokens in bins of 0.0005; here they are of '
                || 'the run''s length, in bins of 0.005.'
            ),
            (
                ['5'],
                '5,000 positions; the authors take 10,000.'
            ),
            (
                ['16'],
                'The authors take 10,000 tokens in sequences of 100; here every row of the '
                || 'run counts, in sequences of its length. The ratio is of the final norm''s '
                || 'divisors, which is that of the norms about the mean (LayerNorm) or of the '
                || 'norms (RMSNorm).'
            ),
            (
                ['4', '5', '16', '17', '18'],
                'Mean ablation takes the head''s mean z over the whole run, the authors'' '
                || 'that over a batch.'
            ),
            (
                ['7', '7, histogram'],
                'Neurons are ranked by their signed change, as the layer''s repair is.'
            ),
            (
                ['7', '7, histogram', 'section 4.2.2'],
                'The authors'' code ranks tokens by the repair of all MLP layers, here the '
                || 'last one counts; they are the same for a head that has no other MLP layer '
                || 'downstream.'
            ),
            (
                ['section 4.2.2'],
                'The paper''s text ranks tokens by the head''s self-repair; see the column '
                || 'ranking.'
            ),
            (
                ['8'],
                'Thresholds of the paper''s text; the authors'' code has 0.025 for 0.02. '
                || 'Repair has the sign of the head''s direct effect.'
            ),
            (
                ['9', '19', 'appendix E', 'section 5.3'],
                'The authors take the first 30 tokens of 50 documents of OpenWebText; here '
                || 'the text is the run''s.'
            ),
            (
                ['9', '19'],
                'The column direct_effect_after has the clean scale, as the paper says; the '
                || 'authors'' script has the changed run''s: direct_effect_after_rescaled. At '
                || 'most 5,000 positions.'
            ),
            (
                ['10'],
                'Rows whose direct effect is exactly 0 are left out; the authors would get '
                || 'infinity. The ratio of the means stands beside it.'
            ),
            (
                ['12', '13', '14', '15'],
                'The authors'' code counts a sequence''s rows with all 128 positions, the '
                || 'last of which has no target; here only the 127 that have one are rows. Drawn '
                || 'neuron by neuron for the first and last 50, at every hundredth of the layer '
                || 'between. The median clean direct effect is of the neuron '
                || 'at that rank, as in the authors'' code; beyond rank 50 for chosen heads '
                || 'only.'
            ),
            (
                ['1', '6', '8', '10', '11', '12', '20'],
                'Llama panels: the authors'' script with fold_ln off leaves the final norm''s '
                || 'weight out of the stacked contributions; here it is in. center_unembed is '
                || 'off there; here that is the run''s setting.'
            ),
            (
                ['section 2.3'],
                'Breakage and overcorrection count for negative direct effects too.'
            ),
            (
                ['section 2.3, per prompt'],
                'A prompt is a sequence of the run.'
            ),
            (
                ['section 4.2.1'],
                'The authors report the median over tokens; the ratio of the means is beside '
                || 'it.'
            ),
            (
                ['section 4.2.1, negligible'],
                'The paper names no threshold (roughly 60 %); quietest_60_percent of '
                || 'neuron_change_by_head asks the same of figures 12 to 15.'
            ),
            (
                ['section 5.3'],
                'The paper names no rule; here a slope above 0.01 that can be told from 0 '
                || '(Student''s t over clusters, corrected for the number of heads); below ten '
                || 'clusters nothing is labelled.'
            ),
            (
                ['section 5.1', 'section 5.1, by run', 'section 5.2'],
                'Not drawn in the paper.'
            ),
            (
                ['who repairs whom', 'positions', 'what is repaired', 'what is repaired, by run'],
                'Not in the paper.'
            ),
            (
                ['published numbers', 'published numbers, by quantity'],
                'Not in the paper: the authors'' code has these means. For a run of one of '
                || 'their four models; the authors'' own errors are not known.'
            ),
            (
                ['2', '3', '5', '10', '16', '20', '21', '22', 'section 2.3'],
                'Where sequences begin with BOS, resampling changes nothing at position 0: 1 '
                || 'of 127 rows of "all", which are in the means.'
            ),
            (
                [
                    '1', '2', '3', '4', '5', '6', '7', '7, histogram', '8', '10', '11', '12', '13',
                    '14', '15', '16', '17', '18', '20', '21', '22', 'section 2.3',
                    'section 2.3, per prompt', 'section 4.2.1', 'section 4.2.1, negligible',
                    'section 4.2.2', 'published numbers', 'published numbers, by quantity'
                ],
                'A sequence''s resample partner is the next one of a seeded cycle through the '
                || 'run; the authors'' is the next batch''s.'
            )
    ) as told (figures, note)
)

select
    place,
    figures,
    note
from told
order by place
