"""What may go wrong in the harness, told apart by what a test reports for it."""


class Unavailable(Exception):
    """This machine lacks what the test needs: the test is skipped, and the message says why in one line."""


class HarnessError(Exception):
    """The guest, QEMU or the other side did not do what it should have: the test fails."""
