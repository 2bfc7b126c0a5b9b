"""What a reward matrix from elsewhere is about; nothing of it was made here."""

from underspec.data.worlds import BaseWorld, Options


class World(BaseWorld):
    """A reward matrix from elsewhere: posts, samples, reward models and their rewards were made
    outside this repository, which read, checked and analysed them.

    Licence: that of whoever made them.
    """

    Options = Options
    has_posts = False
    has_preferences = True  # if any, they are not simulated here
    has_pretraining_text = False
