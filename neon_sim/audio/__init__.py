"""Sound that the physics causes: bodies ring, scrape and roll, motors whine, cues are emitted.

``SoundScape`` (``soundscape.py``) joins the parts: it steps a ``World``, hears every tick and
fills a causal ring of one second at 16 kHz for each microphone channel.
"""
