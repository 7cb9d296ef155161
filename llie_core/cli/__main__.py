import sys

from llie_core.cli import main

sys.exit(main())
